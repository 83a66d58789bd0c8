"""A stand-in for the sidecar's panel side: a `SnapshotSource` whose snapshots come from a separate process.

In a kernel::

    from tests.support.panel_feed import PanelFeed
    cwnotify.panel(link=PanelFeed("well"))

The scenes are the two panels in the design's picture, ``well`` and ``troubled``. Each snapshot is a little later than
the previous one, and its live line moves on. The alarm ``train-busy`` fires in every second snapshot.
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

SNAPSHOT_INTERVAL = 0.4  # seconds
READY_LINE = "ready\n"
CPU_PERCENTAGES: tuple[float, ...] = (
    *(9, 1, 5, 2.5, 3, 52, 83, 87.5, 86, 96.5, 88.5, 87, 87.3, 86.5, 85.5, 87, 89.5, 87.5),
    *(90.5, 87.5, 88, 92, 89.5, 87, 87.5, 89.5, 93, 87.5, 87.5, 90.5, 86, 41, 8.5, 7.5, 6, 8),
)


def healthy_snapshot(at: float, request: PanelRequest = PanelRequest()) -> Snapshot:  # noqa: B008 (frozen)
    """Return the panel of the picture's light half at time `at` (Unix seconds)."""
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
    """Return the panel of the picture's dark half."""
    denied = "CloudWatch: access denied, the role lacks cloudwatch:GetMetricData. Showing this host only."
    removed = "404 no_service: this webhook was removed. Make a new one, then run %cwnotify login"
    healthy = healthy_snapshot(at, request)
    return replace(
        healthy,
        subjects=(WatchedInstance("i-0abc12f9", "train-3", "g5.xlarge", "ap-northeast-2a", "ap-northeast-2"),),
        alarms=healthy.alarms[:2],
        runs=(),
        problems=(PanelProblem(denied, at - 300, at),),
        health=SlackHealth(True, at - 1045, 0, 1, removed),
        updated=at - 300,
        stale=True,
    )


SCENES = {"well": healthy_snapshot, "troubled": troubled_snapshot}


class PanelFeed:
    """A `SnapshotSource`. `sent_commands` has every call that it got.

    Parameters
    ----------
    scene
        ``well`` or ``troubled``. With the suffix ``-still`` only the clock changes.
    """

    def __init__(self, scene: str = "well") -> None:
        self.sent_commands: list[tuple[Any, ...]] = []
        self._receivers: dict[str, Callable[[dict[str, Any]], None]] = {}
        # Like the sidecar: no child of the kernel and in its own session. A kernel kills its children as it exits.
        shell = ["/bin/sh", "-c", 'exec 3<&0; "$@" <&3 &', "sh"]
        program = [sys.executable, "-m", "tests.support.panel_feed", scene]
        self._process = subprocess.Popen(
            [*shell, *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._process.wait()
        # On a busy machine its imports take longer than a panel waits for its first picture.
        assert self._process.stdout
        assert self._process.stdout.readline() == READY_LINE
        threading.Thread(target=copy_context().run, args=(self._read_snapshots,), name="feed", daemon=True).start()

    def set_webhook(self, webhook: object) -> None:
        self.sent_commands.append(("aim",))

    def subscribe(self, panel_id: str, request: PanelRequest, receive: Callable[[dict[str, Any]], None]) -> None:
        self._receivers[panel_id] = receive
        self._send("watch", panel=panel_id, request=to_json_dict(request))

    def unsubscribe(self, panel_id: str) -> None:
        self._receivers.pop(panel_id, None)
        self._send("unwatch", panel=panel_id)

    def send_command(self, kind: str, **values: Any) -> None:
        self._send(kind, **values)

    def _send(self, kind: str, **values: Any) -> None:
        self.sent_commands.append((kind, *values.values()))
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"kind": kind, **values}) + "\n")
        self._process.stdin.flush()

    def _read_snapshots(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            message = json.loads(line)
            if receive := self._receivers.get(message["panel"]):
                receive(message)


def serve_snapshots(scene: str) -> None:
    """Print snapshots for each subscribed panel until the input ends. This is the separate process."""
    from cwnotify.view.plot import PlotRenderer

    name, _, suffix = scene.partition("-")
    plot, muted_until, count, has_ended = PlotRenderer(), 0.0, 0, False
    panels: dict[str, PanelRequest] = {}

    def read_commands() -> None:
        nonlocal muted_until, has_ended
        for line in sys.stdin:
            match json.loads(line):
                case {"kind": "watch", "panel": panel, "request": request}:
                    panels[panel] = from_json_dict(PanelRequest, request)
                case {"kind": "unwatch", "panel": panel}:
                    panels.pop(panel, None)
                case {"kind": "mute", "seconds": seconds}:
                    muted_until = time.time() + seconds if seconds else 0.0
        has_ended = True

    threading.Thread(target=read_commands, daemon=True).start()
    plot.render_png(SCENES[name](time.time()), dark=False)
    print(READY_LINE, end="", flush=True)
    while not has_ended:
        for panel, request in dict(panels).items():
            count += 1
            snapshot = SCENES[name](time.time(), request)
            if not suffix and count % 2:
                busy = replace(snapshot.alarms[0], state="ALARM")
                snapshot = replace(snapshot, alarms=(busy, *snapshot.alarms[1:]))
            snapshot = replace(snapshot, health=replace(snapshot.health, muted_until=muted_until))
            pictures = {
                theme: b64encode(plot.render_png(snapshot, theme == "dark")).decode() for theme in ("light", "dark")
            }
            message = {"kind": "snapshot", "panel": panel, "snapshot": to_json_dict(snapshot), **pictures}
            print(json.dumps(message), flush=True)
        time.sleep(SNAPSHOT_INTERVAL)


if __name__ == "__main__":
    serve_snapshots(sys.argv[1])
