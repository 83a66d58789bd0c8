"""A stand-in for the sidecar's panel side: a `Watcher` whose snapshots come from a real process of its own.

In a kernel::

    from tests.support.panel_feed import PanelFeed
    cwnotify.panel(link=Feed("well"))

Scenes are the two panels of the design's picture, ``well`` and ``troubled``; each snapshot is a little later than the
one before, its live line goes on, and its alarm ``train-busy`` fires in every second one.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from cwnotify.alerts.serialization import from_json_dict, to_json_dict
from cwnotify.view.snapshot import (
    PanelAlarm,
    PanelProblem,
    PanelRequest,
    PanelRun,
    PlotLine,
    SlackHealth,
    Snapshot,
    WatchedInstance,
)

SNAPSHOT_INTERVAL = 0.4
READY_LINE = "ready\n"
CPU_PERCENTAGES = (9, 1, 5, 2.5, 3, 52, 83, 87.5, 86, 96.5, 88.5, 87, 87.3, 86.5, 85.5, 87, 89.5, 87.5)
CPU_PERCENTAGES += (90.5, 87.5, 88, 92, 89.5, 87, 87.5, 89.5, 93, 87.5, 87.5, 90.5, 86, 41, 8.5, 7.5, 6, 8)


def healthy_snapshot(at: float, request: PanelRequest = PanelRequest()) -> Snapshot:  # noqa: B008 (frozen)
    """The picture's light panel, as if it were `at`."""
    begin, noise = at - 175 * 60.0, random.Random(2)
    cloud = tuple((begin + 300.0 * i, float(value)) for i, value in enumerate(CPU_PERCENTAGES))
    live = tuple((at - 600 + 4.0 * i, max(0.0, 4 + noise.gauss(0, 1.6))) for i in range(150))
    return Snapshot(
        at=at,
        request=request,
        subjects=(
            WatchedInstance(
                "i-0abc12f9", "train-3", "g5.xlarge", "ap-northeast-2a", "ap-northeast-2", "running", "basic"
            ),
        ),
        lines=(
            PlotLine("CloudWatch, 5 min", False, 300.0, cloud),
            PlotLine("this host, live", True, 4.0, (*live, (at, 2.0))),
        ),
        alarms=(
            PanelAlarm("train-busy", "OK", at - 1200, False, 50.0, "https://ap-northeast-2.console.aws.amazon.com/x"),
            PanelAlarm("train-off", "ALARM", at - 600, True, 10.0, periods=((at - 600, 0.0),), note="training ended"),
            PanelAlarm("disk-full", "INSUFFICIENT_DATA", 0.0),
        ),
        runs=(
            PanelRun("evaluate", at - 72, place="train.ipynb · In [14]", cpu=(5.0, 8.0, 6.0, 9.0, 4.0, 5.0)),
            PanelRun(
                "resnet50", begin + 1500, begin + 9540, "finished", cpu=CPU_PERCENTAGES[4:32], notified=begin + 9545
            ),
            PanelRun("resnet50", begin + 1200, begin + 1203, "failed", "ValueError: batch_size", notified=begin + 1204),
        ),
        health=SlackHealth(True, at - 1045),
        updated=at,
    )


def troubled_snapshot(at: float, request: PanelRequest = PanelRequest()) -> Snapshot:  # noqa: B008 (frozen)
    """The picture's dark panel."""
    denied = "CloudWatch: access denied, the role lacks cloudwatch:GetMetricData. Showing this host only."
    removed = "404 no_service: this webhook was removed. Make a new one, then run %cwnotify login"
    good = healthy_snapshot(at, request)
    return replace(
        good,
        subjects=(WatchedInstance("i-0abc12f9", "train-3", "g5.xlarge", "ap-northeast-2a", "ap-northeast-2"),),
        alarms=good.alarms[:2],
        runs=(),
        problems=(PanelProblem(denied, at - 300, at),),
        health=SlackHealth(True, at - 1045, 0, 1, removed),
        updated=at - 300,
        stale=True,
    )


SCENES = {"well": healthy_snapshot, "troubled": troubled_snapshot}


class PanelFeed:
    """A `Watcher`; what it was told is in `told`.

    Parameters
    ----------
    scene
        ``well`` or ``troubled``; one that ends in ``-still`` does not change but for its clock.
    """

    def __init__(self, scene: str = "well") -> None:
        self.sent_commands: list[tuple[Any, ...]] = []
        self._heard: dict[str, Callable[[dict[str, Any]], None]] = {}
        # Nobody's child and in a session of its own, as the sidecar is: a kernel ends its children before it leaves.
        shell = [
            "/bin/sh",
            "-c",
            'exec 3<&0; "$@" <&3 &',
            "sh",
            sys.executable,
            "-m",
            "tests.support.panel_feed",
            scene,
        ]
        self._process = subprocess.Popen(
            shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._process.wait()
        # On a busy machine its imports alone outlast what a panel waits for its first picture.
        assert self._process.stdout
        assert self._process.stdout.readline() == READY_LINE
        threading.Thread(target=copy_context().run, args=(self._listen,), name="feed", daemon=True).start()

    def set_webhook(self, webhook: object) -> None:
        self.sent_commands.append(("aim",))

    def subscribe(self, panel_id: str, request: PanelRequest, heard: Callable[[dict[str, Any]], None]) -> None:
        self._heard[panel_id] = heard
        self._send("watch", panel=panel_id, request=to_json_dict(request))

    def unsubscribe(self, panel_id: str) -> None:
        self._heard.pop(panel_id, None)
        self._send("unwatch", panel=panel_id)

    def send_command(self, kind: str, **values: Any) -> None:
        self._send(kind, **values)

    def _send(self, kind: str, **values: Any) -> None:
        self.sent_commands.append((kind, *values.values()))
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"kind": kind, **values}) + "\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout
        for text in self._process.stdout:
            line = json.loads(text)
            if heard := self._heard.get(line["panel"]):
                heard(line)


def serve_snapshots(scene: str) -> None:
    """The process: draws a snapshot for each panel that watches, again and again, until its input ends."""
    from cwnotify.view.plot import PlotRenderer

    name, _, still = scene.partition("-")
    plot, panels, muted, count = PlotRenderer(), {}, 0.0, 0

    def obey() -> None:
        nonlocal muted
        for text in sys.stdin:
            match json.loads(text):
                case {"kind": "watch", "panel": panel, "request": request}:
                    panels[panel] = from_json_dict(PanelRequest, request)
                case {"kind": "unwatch", "panel": panel}:
                    panels.pop(panel, None)
                case {"kind": "mute", "seconds": seconds}:
                    muted = time.time() + seconds if seconds else 0.0
        panels["end"] = PanelRequest()

    threading.Thread(target=obey, daemon=True).start()
    plot.render_png(SCENES[name](time.time()), dark=False)
    print(READY_LINE, end="", flush=True)
    while "end" not in panels:
        for panel, request in dict(panels).items():
            count += 1
            shown = SCENES[name](time.time(), request)
            if not still and count % 2:
                busy = replace(shown.alarms[0], state="ALARM")
                shown = replace(shown, alarms=(busy, *shown.alarms[1:]))
            shown = replace(shown, health=replace(shown.health, muted_until=muted))
            pictures = {name: b64encode(plot.render_png(shown, name == "dark")).decode() for name in ("light", "dark")}
            line = {"kind": "snapshot", "panel": panel, "snapshot": to_json_dict(shown), **pictures}
            print(json.dumps(line), flush=True)
        time.sleep(SNAPSHOT_INTERVAL)


if __name__ == "__main__":
    serve_snapshots(sys.argv[1])
