"""The disk is full, read-only, without locks or damaged: alerts are sent all the same, and none is false or lost."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cloudwatch import CloudWatch
from tests.support.imds import Imds
from tests.support.kernel import LONG_RUNNING_CODE, Kernel, World, alert_outcome, wait_for_alert
from tests.support.slack import Slack
from tests.support.waiting import until

UNTIL_GO = "print('begun', flush=True)\nimport os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)"
ROOM = resource.RLIM_INFINITY
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@pytest.fixture
def kernel(world: World) -> Iterator[Kernel]:
    with Kernel(world) as one:
        one.run("%load_ext cwnotify")
        yield one


def the_sidecar(world: World) -> int:
    (pid,) = until(world.sidecar_ids, 15, "the sidecar")
    return pid


def fill_the_disk(world: World, room: int = 0) -> int:
    """Let the sidecar write nothing more, to whatever file; gives its pid."""
    pid = the_sidecar(world)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, ROOM))
    return pid


def test_disk_full_during_run_delays_no_alert(world: World, kernel: Kernel, slack: Slack) -> None:
    cell = kernel.submit_cell(f"%%notify_on_finish first\n{UNTIL_GO}")
    cell.wait_for_output("begun")
    until(world.open_runs, 10, "the run on disk")
    pid = fill_the_disk(world)
    (world.home / "go").touch()

    assert cell.result().status == "ok"
    assert alert_outcome(wait_for_alert(slack, "first")) == "finished"
    said = kernel.run("%%notify_on_finish second\n'untouched'")
    wait_for_alert(slack, "second")
    assert said.values == ["'untouched'"]
    assert "alerts are kept in memory only" in said.text
    assert world.sidecar_ids() == [pid], "it was started anew"

    # Room again: what the disk says of the first run is put right, so that nobody takes it for lost.
    fill_the_disk(world, ROOM)
    until(lambda: not world.open_runs() and len(world.outbox_messages("done")) == 2, 15, "the outbox on disk")
    kernel.run("%%notify_on_finish third\n1")
    wait_for_alert(slack, "third")
    until(lambda: len(world.outbox_messages("done")) == 3, 10, "the third alert on disk")
    kernel.kill()
    world.wait_for_sidecars_to_exit()
    assert len(slack.delivered) == 3


def test_kernel_death_with_full_disk_is_reported_once(world: World, kernel: Kernel, slack: Slack) -> None:
    kernel.submit_cell(f"%%notify_on_finish unlucky\n{LONG_RUNNING_CODE}").wait_for_output("begun")
    until(world.open_runs, 10, "the run on disk")
    fill_the_disk(world)
    kernel.kill()

    assert alert_outcome(wait_for_alert(slack, "unlucky")) == "lost"
    # It stays until the disk has taken that: the next start would tell of the run again.
    assert world.sidecar_ids()
    fill_the_disk(world, ROOM)
    world.wait_for_sidecars_to_exit()
    assert world.open_runs() == []
    with Kernel(world) as another:
        another.run("%load_ext cwnotify")
        another.run("%%notify_on_finish later\n1")
        wait_for_alert(slack, "later")
    assert len(slack.delivered) == 2


def test_sent_alert_is_not_repeated_if_disk_rejects_record(world: World, kernel: Kernel, slack: Slack) -> None:
    slack.refuse_connections()
    kernel.run("%%notify_on_finish waiting\n1")
    until(lambda: any(message.reason for message in world.outbox_messages("pending")), 10, "an attempt")
    fill_the_disk(world)
    slack.accept_connections()
    wait_for_alert(slack, "waiting")
    fill_the_disk(world, ROOM)
    until(lambda: world.outbox_messages("done"), 15, "the note")

    kernel.kill()
    world.wait_for_sidecars_to_exit()
    assert len(slack.delivered) == 1


@contextmanager
def mounted(place: Path, size: str, *files: tuple[str, int]) -> Iterator[None]:
    """A file system of its own at `place`, holding files of so many bytes."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", place], check=True)
    try:
        for name, length in files:
            (place / name).write_bytes(bytes(length))
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@root_only
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_disk_full_at_start_delays_no_alert(trouble: str, world: World, kernel: Kernel, slack: Slack) -> None:
    with mounted(world.state_dir, "64k", ("ballast", 64 << 10) if trouble == "full" else ("ballast", 1)):
        if trouble == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", world.state_dir], check=True)
        first = kernel.run("%%notify_on_finish first\n1 + 1")
        failed = kernel.run("%%notify_on_finish second\n1 / 0")
        told = [alert_outcome(wait_for_alert(slack, name)) for name in ("first", "second")]
        said = kernel.run("%%notify_on_finish third\n1").text
        wait_for_alert(slack, "third")
        kernel.kill()
        world.wait_for_sidecars_to_exit()

    assert (first.values, failed.error.name) == (["2"], "ZeroDivisionError")
    assert told == ["finished", "failed"]
    assert "alerts are kept in memory" in first.text + failed.text + said
    assert len(slack.delivered) == 3


# fcntl(F_SETLK), which is 6, and F_OFD_SETLK, 37, give ENOLCK, 37, as a file server without a lock daemon does.
NO_LOCKS = """
import ctypes, platform, struct
number = {"x86_64": 72, "aarch64": 25}[platform.machine()]
program = [(0x20, 0, 0, 0), (0x15, 0, 4, number), (0x20, 0, 0, 24), (0x15, 1, 0, 6), (0x15, 0, 1, 37),
           (0x06, 0, 0, 0x00050000 | 37), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, head, 0, 0) == 0, ctypes.get_errno()
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="written for these processors")
def test_file_system_without_locks_delays_no_alert(world: World, kernel: Kernel, slack: Slack) -> None:
    assert kernel.run(NO_LOCKS).status == "ok"
    said = kernel.run("%%notify_on_finish first\n1").text
    wait_for_alert(slack, "first")
    said += kernel.run("%%notify_on_finish second\n1").text
    wait_for_alert(slack, "second")

    assert "on a file system without locks; set CWNOTIFY_STATE_DIR to a local folder" in said


def test_damaged_outbox_is_set_aside_with_warning(world: World, kernel: Kernel, slack: Slack) -> None:
    world.state_dir.mkdir()
    (world.state_dir / "outbox.sqlite3").write_bytes(b"no database at all" * 500)
    said = kernel.run("%%notify_on_finish first\n1").text
    wait_for_alert(slack, "first")
    said += kernel.run("%%notify_on_finish second\n1").text
    wait_for_alert(slack, "second")

    assert "the outbox was damaged and is kept as" in said
    until(lambda: len(world.outbox_messages("done")) == 2, 10, "both on disk")


def test_outbox_damaged_during_run_loses_no_alert(world: World, kernel: Kernel, slack: Slack) -> None:
    cell = kernel.submit_cell(f"%%notify_on_finish first\n{UNTIL_GO}")
    cell.wait_for_output("begun")
    until(world.open_runs, 10, "the run on disk")
    for path in world.state_dir.glob("outbox.sqlite3*"):
        with path.open("r+b") as file:
            file.write(b"\xff" * path.stat().st_size)
    (world.home / "go").touch()
    cell.result()

    assert alert_outcome(wait_for_alert(slack, "first", 30)) == "finished"


def test_spot_notice_is_sent_with_full_disk(tmp_path: Path) -> None:
    with Imds("spot") as imds, Slack() as slack, World(tmp_path, slack.url, **imds.environ) as world:
        with Kernel(world) as kernel:
            kernel.run("%load_ext cwnotify")
            kernel.run("%%notify_on_finish first\n1")
            wait_for_alert(slack, "first")
            until(lambda: world.outbox_messages("done"), 10, "the note of it")
            fill_the_disk(world)
            imds.announce_interruption()

            slack.wait_for(lambda payloads: [p for p in payloads if "will reclaim Spot instance" in p["text"]], 30)
            fill_the_disk(world, ROOM)
            kernel.kill()
        world.wait_for_sidecars_to_exit(30)
        assert len(slack.delivered) == 2


def test_alarm_change_with_full_disk_is_sent_when_disk_recovers(tmp_path: Path) -> None:
    with CloudWatch() as aws, Slack() as slack:
        aws.put_alarm("train-busy")
        environ = {**aws.environ(), "CWNOTIFY_ROUND": "1"}
        with World(tmp_path, slack.url, **environ) as world, Kernel(world) as kernel:
            kernel.run("%load_ext cwnotify")
            kernel.run("%cwnotify panel --alarms train-busy")
            until(lambda: aws.calls["cloudwatch:DescribeAlarms"] >= 2, 30, "two looks at the alarm")
            fill_the_disk(world)
            aws.set_state("train-busy", "ALARM")
            seen = aws.calls["cloudwatch:DescribeAlarms"]
            until(lambda: aws.calls["cloudwatch:DescribeAlarms"] >= seen + 2, 30, "two looks at the change")
            fill_the_disk(world, ROOM)

            slack.wait_for(lambda payloads: [one for one in payloads if "in ALARM" in one["text"]], 30)
            kernel.kill()
            world.wait_for_sidecars_to_exit(30)
        assert len(slack.delivered) == 1
