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
from cwnotify.settings.private_files import create_private_file, is_same_directory, open_private_directory
from cwnotify.store.recovery import open_outbox
from cwnotify.store.state_dir import fingerprint_webhook, prepare_state_dir

WEBHOOK = Secret("https://hooks.slack.com/services/T0/B0/canary")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_is_made_with_its_parents_and_for_us_alone(tmp_path):
    directory = prepare_state_dir(tmp_path / "a" / "state")

    assert directory == tmp_path / "a" / "state"
    assert mode(directory) == 0o700
    assert prepare_state_dir(directory) == directory


@pytest.mark.parametrize("open_to", [0o755, 0o770, 0o777, 0o701])
def test_a_directory_that_is_open_to_others_is_closed(tmp_path, open_to):
    tmp_path.chmod(open_to)

    prepare_state_dir(tmp_path)

    assert mode(tmp_path) == 0o700


@root_only
def test_a_directory_of_somebody_else_is_refused(tmp_path):
    os.chown(tmp_path, 12345, -1)

    with pytest.raises(StateError, match="belongs to another user; set CWNOTIFY_STATE_DIR"):
        prepare_state_dir(tmp_path)


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300])
def test_what_can_be_no_directory_is_told_with_a_way_out(tmp_path, place):
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match=r"cannot be used: .*; set CWNOTIFY_STATE_DIR"):
        prepare_state_dir(tmp_path / place)


def test_a_webhook_has_one_name_that_tells_nothing_of_it(tmp_path):
    name = fingerprint_webhook(WEBHOOK, tmp_path)

    assert name == fingerprint_webhook(Secret(WEBHOOK.reveal()), tmp_path)
    assert name != fingerprint_webhook(Secret(WEBHOOK.reveal() + "x"), tmp_path)
    assert len(name) == 24
    assert "canary" not in name + (tmp_path / "key").read_text("latin-1")


def test_the_name_of_a_webhook_differs_where_the_key_differs(tmp_path):
    (tmp_path / "other").mkdir()

    assert fingerprint_webhook(WEBHOOK, tmp_path) != fingerprint_webhook(WEBHOOK, tmp_path / "other")


def test_no_webhook_has_no_name(tmp_path):
    assert fingerprint_webhook(None, tmp_path) == ""
    assert not (tmp_path / "key").exists()


def test_the_key_is_readable_by_its_owner_alone_and_lies_there_by_itself(tmp_path):
    fingerprint_webhook(WEBHOOK, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert mode(tmp_path / "key") == 0o600
    assert len((tmp_path / "key").read_bytes()) == 32


@pytest.mark.parametrize("left", [b"", b"half a key"])
def test_a_key_that_a_power_cut_left_half_written_is_made_anew(tmp_path, left):
    (tmp_path / "key").write_bytes(left)

    name = fingerprint_webhook(WEBHOOK, tmp_path)

    assert len((tmp_path / "key").read_bytes()) == 32
    assert name == fingerprint_webhook(WEBHOOK, tmp_path)


def test_without_a_directory_a_name_holds_for_this_process_alone():
    script = "from cwnotify.settings import Secret; from cwnotify.store.state_dir import fingerprint_webhook; "
    script += "print(fingerprint(Secret('https://x'), None))"
    elsewhere = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()

    assert fingerprint_webhook(Secret("https://x"), None) == fingerprint_webhook(Secret("https://x"), None)
    assert fingerprint_webhook(Secret("https://x"), None) != elsewhere


def test_first_starts_at_the_same_moment_agree_on_one_key(tmp_path):
    starts = 8
    with ThreadPoolExecutor(starts) as pool:
        for attempt in range(12):
            directory, gate = prepare_state_dir(tmp_path / str(attempt)), threading.Barrier(starts)

            def name(_: int, directory: Path = directory, gate: threading.Barrier = gate) -> str:
                gate.wait(10)
                return fingerprint_webhook(WEBHOOK, directory)

            assert len(set(pool.map(name, range(starts)))) == 1
            assert [path.name for path in directory.iterdir()] == ["key"]


# What other users can do in a folder that they may write, as /tmp is one

STRANGER = 65534


def owned_by_a_stranger(path: Path) -> Path:
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Another folder of this user, to which nothing may happen."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "key").write_text("mine")
    return home


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that everybody may write, as /tmp."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    return shared


@root_only
@pytest.mark.parametrize("place", ["link", "link/below", "link/../link"])
def test_a_strangers_symbolic_link_is_not_followed(home: Path, shared: Path, place: str):
    link = shared / "link"
    link.symlink_to(home)
    owned_by_a_stranger(link)

    with pytest.raises(
        StateError, match="another user's symbolic link; set CWNOTIFY_STATE_DIR to a folder of your own"
    ):
        prepare_state_dir(shared / place)
    with pytest.raises(StateError):
        open_outbox(shared / place)
    with pytest.raises(OSError, match="link"):
        fingerprint_webhook(WEBHOOK, shared / place)

    assert mode(home) == 0o755
    assert [path.name for path in home.iterdir()] == ["key"]
    assert (home / "key").read_text() == "mine"


@root_only
def test_a_strangers_link_behind_a_link_of_ours_is_not_followed(home: Path, shared: Path):
    (shared / "theirs").symlink_to(home)
    owned_by_a_stranger(shared / "theirs")
    (shared / "ours").symlink_to("theirs")

    with pytest.raises(StateError, match="another user's symbolic link"):
        prepare_state_dir(shared / "ours")

    assert mode(home) == 0o755


def test_a_link_of_our_own_is_followed(home: Path, shared: Path):
    (shared / "ours").symlink_to(home)

    open_outbox(shared / "ours" / "state").close()

    assert mode(home / "state") == 0o700
    assert mode(home) == 0o755


@root_only
def test_a_strangers_folder_with_a_key_is_refused_and_left_as_it_is(shared: Path):
    theirs = shared / "cwnotify"
    theirs.mkdir()
    (theirs / "key").write_bytes(b"k" * 32)
    theirs.chmod(0o777)
    owned_by_a_stranger(theirs)

    with pytest.raises(StateError, match="cwnotify belongs to another user; set CWNOTIFY_STATE_DIR"):
        prepare_state_dir(theirs)
    with pytest.raises(OSError, match="another user"):
        fingerprint_webhook(WEBHOOK, theirs)

    assert mode(theirs) == 0o777
    assert [path.name for path in theirs.iterdir()] == ["key"]


FILES = ("key", "lock", "outbox.sqlite3", "outbox.sqlite3-wal", "outbox.sqlite3-shm", "sidecar.log", "sidecar.log.1")


def planted(kind: str, place: Path, home: Path) -> None:
    target = home / "key"
    match kind:
        case "a stranger's":
            place.write_bytes(b"k" * 32)
            owned_by_a_stranger(place)
        case "a symbolic link":
            place.symlink_to(target)
        case "a stranger's symbolic link":
            place.symlink_to(target)
            owned_by_a_stranger(place)
        case "a hard link":
            place.hardlink_to(target)
        case "a pipe":
            os.mkfifo(place)
        case "a folder":
            place.mkdir()


KINDS = ("a stranger's", "a symbolic link", "a stranger's symbolic link", "a hard link", "a pipe", "a folder")


@root_only
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_stranger_has_planted_in_an_open_folder_is_refused(home: Path, shared: Path, name: str, kind: str):
    state = shared / "state"
    state.mkdir()
    state.chmod(0o777)
    planted(kind, state / name, home)
    before = (home / "key").stat()

    with pytest.raises(StateError, match=f"{name} .*; set CWNOTIFY_STATE_DIR to a folder of your own"):
        prepare_state_dir(state)
    with pytest.raises(StateError):
        open_outbox(state)
    if name == "key":
        with pytest.raises(OSError, match="key"):
            fingerprint_webhook(WEBHOOK, state)

    assert (home / "key").read_text() == "mine"
    assert (home / "key").stat().st_mode == before.st_mode
    assert (home / "key").stat().st_mtime_ns == before.st_mtime_ns


def test_files_that_others_could_read_are_closed(tmp_path: Path):
    for name in ("key", "lock", "sidecar.log"):
        (tmp_path / name).write_bytes(b"k" * 32)
        (tmp_path / name).chmod(0o666)

    prepare_state_dir(tmp_path)

    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}


def test_files_that_are_made_are_closed_from_the_beginning(tmp_path: Path):
    before = os.umask(0)
    try:
        box = open_outbox(tmp_path / "deep" / "state")
        fingerprint_webhook(WEBHOOK, tmp_path / "deep" / "state")
    finally:
        os.umask(before)

    assert mode(tmp_path / "deep") == 0o700
    assert {path.name: mode(path) for path in (tmp_path / "deep" / "state").iterdir()} == dict.fromkeys(
        FILES[:5], 0o600
    )
    box.close()


def test_a_key_that_a_crash_left_with_its_first_name_is_used(tmp_path: Path):
    name = fingerprint_webhook(WEBHOOK, tmp_path)
    (tmp_path / ".key.1.abcd").hardlink_to(tmp_path / "key")

    assert fingerprint_webhook(WEBHOOK, prepare_state_dir(tmp_path)) == name


def test_checks_do_not_take_away_the_locks_of_an_open_outbox(tmp_path: Path):
    box = open_outbox(tmp_path)
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    command = [sys.executable, "-c", script, str(tmp_path / "outbox.sqlite3")]
    with box.transaction():
        prepare_state_dir(tmp_path)
        open_outbox(tmp_path).close()
        other = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "database is locked" in other.stderr
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    box.close()


def test_a_folder_that_is_exchanged_after_its_check_is_noticed(tmp_path: Path):
    state, other = tmp_path / "state", tmp_path / "other"
    other.mkdir()

    with open_private_directory(state) as folder:
        assert is_same_directory(state, folder)
        state.rename(tmp_path / "gone")
        other.rename(state)
        assert not is_same_directory(state, folder)
        create_private_file("outbox.sqlite3", folder)

    assert not list(state.iterdir())
    assert (tmp_path / "gone" / "outbox.sqlite3").exists()
