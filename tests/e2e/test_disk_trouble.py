"""Alerts are sent when the disk is full, read-only, without locks or damaged, and none is false or lost."""

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

WAIT_FOR_FILE = "print('begun', flush=True)\nimport os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)"
NO_LIMIT = resource.RLIM_INFINITY
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@pytest.fixture
def kernel(world: World) -> Iterator[Kernel]:
    with Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        yield kernel


def wait_for_sidecar(world: World) -> int:
    """Return the process ID of the only sidecar."""
    (pid,) = until(world.sidecar_ids, 15, "the sidecar")
    return pid


def limit_file_size(world: World, limit: int = 0) -> int:
    """Make the sidecar's writes fail beyond this file size in bytes, and return its process ID."""
    pid = wait_for_sidecar(world)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, NO_LIMIT))
    return pid


def test_disk_full_during_run_delays_no_alert(world: World, kernel: Kernel, slack: Slack) -> None:
    cell = kernel.submit_cell(f"%%notify_on_finish first\n{WAIT_FOR_FILE}")
    cell.wait_for_output("begun")
    until(world.open_runs, 10, "the run on disk")
    pid = limit_file_size(world)
    (world.home / "go").touch()

    assert cell.result().status == "ok"
    assert alert_outcome(wait_for_alert(slack, "first")) == "finished"
    second = kernel.run("%%notify_on_finish second\n'untouched'")
    wait_for_alert(slack, "second")
    assert second.values == ["'untouched'"]
    assert "alerts are kept in memory only" in second.text
    assert world.sidecar_ids() == [pid], "the sidecar was restarted"

    # The disk has space again: the first run is closed on disk, so it will not be reported as lost.
    limit_file_size(world, NO_LIMIT)
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
    limit_file_size(world)
    kernel.kill()

    assert alert_outcome(wait_for_alert(slack, "unlucky")) == "lost"
    # The sidecar keeps running until this is on disk; otherwise the next start would report the run again.
    assert world.sidecar_ids()
    limit_file_size(world, NO_LIMIT)
    world.wait_for_sidecars_to_exit()
    assert world.open_runs() == []
    with Kernel(world) as second_kernel:
        second_kernel.run("%load_ext cwnotify")
        second_kernel.run("%%notify_on_finish later\n1")
        wait_for_alert(slack, "later")
    assert len(slack.delivered) == 2


def test_sent_alert_is_not_repeated_if_disk_rejects_record(world: World, kernel: Kernel, slack: Slack) -> None:
    slack.refuse_connections()
    kernel.run("%%notify_on_finish waiting\n1")
    until(lambda: any(message.reason for message in world.outbox_messages("pending")), 10, "an attempt")
    limit_file_size(world)
    slack.accept_connections()
    wait_for_alert(slack, "waiting")
    limit_file_size(world, NO_LIMIT)
    until(lambda: world.outbox_messages("done"), 15, "the record of the delivery")

    kernel.kill()
    world.wait_for_sidecars_to_exit()
    assert len(slack.delivered) == 1


@contextmanager
def mounted_tmpfs(path: Path, size: str, *files: tuple[str, int]) -> Iterator[None]:
    """Mount a file system at `path` that contains files of these sizes in bytes."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", path], check=True)
    try:
        for name, length in files:
            (path / name).write_bytes(bytes(length))
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@root_only
@pytest.mark.parametrize("problem", ["full", "read-only"])
def test_disk_full_at_start_delays_no_alert(problem: str, world: World, kernel: Kernel, slack: Slack) -> None:
    with mounted_tmpfs(world.state_dir, "64k", ("ballast", 64 << 10) if problem == "full" else ("ballast", 1)):
        if problem == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", world.state_dir], check=True)
        first = kernel.run("%%notify_on_finish first\n1 + 1")
        failed = kernel.run("%%notify_on_finish second\n1 / 0")
        outcomes = [alert_outcome(wait_for_alert(slack, name)) for name in ("first", "second")]
        third = kernel.run("%%notify_on_finish third\n1")
        wait_for_alert(slack, "third")
        kernel.kill()
        world.wait_for_sidecars_to_exit()

    assert (first.values, failed.error.name) == (["2"], "ZeroDivisionError")
    assert outcomes == ["finished", "failed"]
    assert "alerts are kept in memory" in first.text + failed.text + third.text
    assert len(slack.delivered) == 3


# Makes fcntl fail for F_SETLK (6) and F_OFD_SETLK (37) with ENOLCK (37), as a file server without a lock daemon does.
NO_LOCKS = """
import ctypes, platform, struct
number = {"x86_64": 72, "aarch64": 25}[platform.machine()]
program = [(0x20, 0, 0, 0), (0x15, 0, 4, number), (0x20, 0, 0, 24), (0x15, 1, 0, 6), (0x15, 0, 1, 37),
           (0x06, 0, 0, 0x00050000 | 37), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, head, 0, 0) == 0, ctypes.get_errno()
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="written for these processors")
def test_file_system_without_locks_delays_no_alert(world: World, kernel: Kernel, slack: Slack) -> None:
    assert kernel.run(NO_LOCKS).status == "ok"
    output = kernel.run("%%notify_on_finish first\n1").text
    wait_for_alert(slack, "first")
    output += kernel.run("%%notify_on_finish second\n1").text
    wait_for_alert(slack, "second")

    assert "on a file system without locks; set CWNOTIFY_STATE_DIR to a local folder" in output


def test_damaged_outbox_is_set_aside_with_warning(world: World, kernel: Kernel, slack: Slack) -> None:
    world.state_dir.mkdir()
    (world.state_dir / "outbox.sqlite3").write_bytes(b"no database at all" * 500)
    output = kernel.run("%%notify_on_finish first\n1").text
    wait_for_alert(slack, "first")
    output += kernel.run("%%notify_on_finish second\n1").text
    wait_for_alert(slack, "second")

    assert "the outbox was damaged and is kept as" in output
    until(lambda: len(world.outbox_messages("done")) == 2, 10, "both on disk")


def test_outbox_damaged_during_run_loses_no_alert(world: World, kernel: Kernel, slack: Slack) -> None:
    cell = kernel.submit_cell(f"%%notify_on_finish first\n{WAIT_FOR_FILE}")
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
            until(lambda: world.outbox_messages("done"), 10, "the record of the delivery")
            limit_file_size(world)
            imds.announce_interruption()

            slack.wait_for(lambda payloads: [p for p in payloads if "will reclaim Spot instance" in p["text"]], 30)
            limit_file_size(world, NO_LIMIT)
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
            until(lambda: aws.calls["cloudwatch:DescribeAlarms"] >= 2, 30, "two polls of the alarm")
            limit_file_size(world)
            aws.set_state("train-busy", "ALARM")
            calls = aws.calls["cloudwatch:DescribeAlarms"]
            until(lambda: aws.calls["cloudwatch:DescribeAlarms"] >= calls + 2, 30, "two polls after the change")
            limit_file_size(world, NO_LIMIT)

            slack.wait_for(lambda payloads: [payload for payload in payloads if "in ALARM" in payload["text"]], 30)
            kernel.kill()
            world.wait_for_sidecars_to_exit(30)
        assert len(slack.delivered) == 1
