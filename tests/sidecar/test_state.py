"""The state directory: ours alone, and with a key that turns a webhook into a name for it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cwnotify.errors import StateError
from cwnotify.settings import Secret
from cwnotify.sidecar.state import fingerprint, prepare

WEBHOOK = Secret("https://hooks.slack.com/services/T0/B0/canary")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_is_made_with_its_parents_and_for_us_alone(tmp_path):
    directory = prepare(tmp_path / "a" / "state")

    assert directory == tmp_path / "a" / "state"
    assert mode(directory) == 0o700
    assert prepare(directory) == directory


@pytest.mark.parametrize("open_to", [0o755, 0o770, 0o777, 0o701])
def test_a_directory_that_is_open_to_others_is_closed(tmp_path, open_to):
    tmp_path.chmod(open_to)

    prepare(tmp_path)

    assert mode(tmp_path) == 0o700


@root_only
def test_a_directory_of_somebody_else_is_refused(tmp_path):
    os.chown(tmp_path, 12345, -1)

    with pytest.raises(StateError, match="belongs to another user; set CWNOTIFY_STATE_DIR"):
        prepare(tmp_path)


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300])
def test_what_can_be_no_directory_is_told_with_a_way_out(tmp_path, place):
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match=r"cannot be used: .*; set CWNOTIFY_STATE_DIR"):
        prepare(tmp_path / place)


def test_a_webhook_has_one_name_that_tells_nothing_of_it(tmp_path):
    name = fingerprint(WEBHOOK, tmp_path)

    assert name == fingerprint(Secret(WEBHOOK.reveal()), tmp_path)
    assert name != fingerprint(Secret(WEBHOOK.reveal() + "x"), tmp_path)
    assert len(name) == 24
    assert "canary" not in name + (tmp_path / "key").read_text("latin-1")


def test_the_name_of_a_webhook_differs_where_the_key_differs(tmp_path):
    (tmp_path / "other").mkdir()

    assert fingerprint(WEBHOOK, tmp_path) != fingerprint(WEBHOOK, tmp_path / "other")


def test_no_webhook_has_no_name(tmp_path):
    assert fingerprint(None, tmp_path) == ""
    assert not (tmp_path / "key").exists()


def test_the_key_is_readable_by_its_owner_alone_and_lies_there_by_itself(tmp_path):
    fingerprint(WEBHOOK, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert mode(tmp_path / "key") == 0o600
    assert len((tmp_path / "key").read_bytes()) == 32


@pytest.mark.parametrize("left", [b"", b"half a key"])
def test_a_key_that_a_power_cut_left_half_written_is_made_anew(tmp_path, left):
    (tmp_path / "key").write_bytes(left)

    name = fingerprint(WEBHOOK, tmp_path)

    assert len((tmp_path / "key").read_bytes()) == 32
    assert name == fingerprint(WEBHOOK, tmp_path)


def test_without_a_directory_a_name_holds_for_this_process_alone():
    script = "from cwnotify.settings import Secret; from cwnotify.sidecar.state import fingerprint; "
    script += "print(fingerprint(Secret('https://x'), None))"
    elsewhere = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()

    assert fingerprint(Secret("https://x"), None) == fingerprint(Secret("https://x"), None)
    assert fingerprint(Secret("https://x"), None) != elsewhere


def test_first_starts_at_the_same_moment_agree_on_one_key(tmp_path):
    starts = 8
    with ThreadPoolExecutor(starts) as pool:
        for attempt in range(12):
            directory, gate = prepare(tmp_path / str(attempt)), threading.Barrier(starts)

            def name(_: int, directory: Path = directory, gate: threading.Barrier = gate) -> str:
                gate.wait(10)
                return fingerprint(WEBHOOK, directory)

            assert len(set(pool.map(name, range(starts)))) == 1
            assert [path.name for path in directory.iterdir()] == ["key"]
