"""The state directory: private to this user, with a key that turns a webhook into a fingerprint."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from cwnotify.errors import StateError
from cwnotify.settings import Secret
from cwnotify.settings.private_files import create_private_file, is_same_directory, open_private_directory
from cwnotify.store.recovery import open_outbox
from cwnotify.store.state_dir import fingerprint_webhook, prepare_state_dir

WEBHOOK = Secret("https://hooks.slack.com/services/T0/B0/canary")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The directory


def test_directory_is_created_with_parents_and_private_mode(tmp_path: Path) -> None:
    directory = prepare_state_dir(tmp_path / "a" / "state")

    assert directory == tmp_path / "a" / "state"
    assert mode(directory) == 0o700
    assert prepare_state_dir(directory) == directory


@pytest.mark.parametrize("open_mode", [0o755, 0o770, 0o777, 0o701])
def test_directory_open_to_others_becomes_private(tmp_path: Path, open_mode: int) -> None:
    tmp_path.chmod(open_mode)

    prepare_state_dir(tmp_path)

    assert mode(tmp_path) == 0o700


@root_only
def test_directory_of_another_user_is_rejected(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)

    with pytest.raises(StateError, match="belongs to another user; set CWNOTIFY_STATE_DIR"):
        prepare_state_dir(tmp_path)


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_path_that_cannot_be_a_directory_is_rejected_with_a_hint(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match=r"cannot be used: .*; set CWNOTIFY_STATE_DIR"):
        prepare_state_dir(tmp_path / name)


# The key and fingerprints


def test_fingerprint_is_stable_and_reveals_nothing(tmp_path: Path) -> None:
    fingerprint = fingerprint_webhook(WEBHOOK, tmp_path)

    assert fingerprint == fingerprint_webhook(Secret(WEBHOOK.reveal()), tmp_path)
    assert fingerprint != fingerprint_webhook(Secret(WEBHOOK.reveal() + "x"), tmp_path)
    assert len(fingerprint) == 24
    assert "canary" not in fingerprint + (tmp_path / "key").read_text("latin-1")


def test_fingerprint_depends_on_the_key(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()

    assert fingerprint_webhook(WEBHOOK, tmp_path) != fingerprint_webhook(WEBHOOK, tmp_path / "other")


def test_no_webhook_has_an_empty_fingerprint(tmp_path: Path) -> None:
    assert fingerprint_webhook(None, tmp_path) == ""
    assert not (tmp_path / "key").exists()


def test_key_is_private_and_the_only_file(tmp_path: Path) -> None:
    fingerprint_webhook(WEBHOOK, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert mode(tmp_path / "key") == 0o600
    assert len((tmp_path / "key").read_bytes()) == 32


@pytest.mark.parametrize("content", [b"", b"half a key"])
def test_incomplete_key_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)

    fingerprint = fingerprint_webhook(WEBHOOK, tmp_path)

    assert len((tmp_path / "key").read_bytes()) == 32
    assert fingerprint == fingerprint_webhook(WEBHOOK, tmp_path)


def test_key_with_a_second_name_left_by_a_crash_is_used(tmp_path: Path) -> None:
    fingerprint = fingerprint_webhook(WEBHOOK, tmp_path)
    (tmp_path / ".key.1.abcd").hardlink_to(tmp_path / "key")

    assert fingerprint_webhook(WEBHOOK, prepare_state_dir(tmp_path)) == fingerprint


def test_fingerprint_without_directory_holds_for_this_process_only() -> None:
    script = "from cwnotify.settings import Secret; from cwnotify.store.state_dir import fingerprint_webhook; "
    script += "print(fingerprint_webhook(Secret('https://x'), None))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    other = process.stdout.strip()

    assert len(other) == 24
    assert fingerprint_webhook(Secret("https://x"), None) == fingerprint_webhook(Secret("https://x"), None)
    assert fingerprint_webhook(Secret("https://x"), None) != other


def test_concurrent_first_starts_agree_on_one_key(tmp_path: Path) -> None:
    count = 8
    with ThreadPoolExecutor(count) as pool:
        for attempt in range(12):
            directory, barrier = prepare_state_dir(tmp_path / str(attempt)), threading.Barrier(count)

            def fingerprint(_: int, directory: Path = directory, barrier: threading.Barrier = barrier) -> str:
                barrier.wait(10)
                return fingerprint_webhook(WEBHOOK, directory)

            assert len(set(pool.map(fingerprint, range(count)))) == 1
            assert [path.name for path in directory.iterdir()] == ["key"]


# What other users can do in a directory that they may write, such as /tmp

STRANGER = 65534


def give_to_stranger(path: Path) -> None:
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Another directory of this user, which must not change."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "key").write_text("mine")
    return home


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory that every user may write, like /tmp."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    return shared


@root_only
@pytest.mark.parametrize("name", ["link", "link/below", "link/../link"])
def test_symbolic_link_of_another_user_is_not_followed(home: Path, shared: Path, name: str) -> None:
    link = shared / "link"
    link.symlink_to(home)
    give_to_stranger(link)

    with pytest.raises(
        StateError, match="another user's symbolic link; set CWNOTIFY_STATE_DIR to a folder of your own"
    ):
        prepare_state_dir(shared / name)
    with pytest.raises(StateError):
        open_outbox(shared / name)
    with pytest.raises(OSError, match="link"):
        fingerprint_webhook(WEBHOOK, shared / name)

    assert mode(home) == 0o755
    assert [path.name for path in home.iterdir()] == ["key"]
    assert (home / "key").read_text() == "mine"


@root_only
def test_link_of_another_user_behind_our_link_is_not_followed(home: Path, shared: Path) -> None:
    (shared / "theirs").symlink_to(home)
    give_to_stranger(shared / "theirs")
    (shared / "ours").symlink_to("theirs")

    with pytest.raises(StateError, match="another user's symbolic link"):
        prepare_state_dir(shared / "ours")

    assert mode(home) == 0o755


def test_our_own_link_is_followed(home: Path, shared: Path) -> None:
    (shared / "ours").symlink_to(home)

    open_outbox(shared / "ours" / "state").close()

    assert mode(home / "state") == 0o700
    assert mode(home) == 0o755


@root_only
def test_directory_of_another_user_with_a_key_is_rejected_unchanged(shared: Path) -> None:
    theirs = shared / "cwnotify"
    theirs.mkdir()
    (theirs / "key").write_bytes(b"k" * 32)
    theirs.chmod(0o777)
    give_to_stranger(theirs)

    with pytest.raises(StateError, match="cwnotify belongs to another user; set CWNOTIFY_STATE_DIR"):
        prepare_state_dir(theirs)
    with pytest.raises(OSError, match="another user"):
        fingerprint_webhook(WEBHOOK, theirs)

    assert mode(theirs) == 0o777
    assert [path.name for path in theirs.iterdir()] == ["key"]


FILES = ("key", "lock", "outbox.sqlite3", "outbox.sqlite3-wal", "outbox.sqlite3-shm", "sidecar.log", "sidecar.log.1")
PLANTED_KINDS = (
    "a stranger's file",
    "a symbolic link",
    "a stranger's symbolic link",
    "a hard link",
    "a pipe",
    "a folder",
)


def plant(kind: str, path: Path, target: Path) -> None:
    match kind:
        case "a stranger's file":
            path.write_bytes(b"k" * 32)
            give_to_stranger(path)
        case "a symbolic link":
            path.symlink_to(target)
        case "a stranger's symbolic link":
            path.symlink_to(target)
            give_to_stranger(path)
        case "a hard link":
            path.hardlink_to(target)
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()


@root_only
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", PLANTED_KINDS)
def test_file_planted_by_another_user_is_rejected(home: Path, shared: Path, name: str, kind: str) -> None:
    state = shared / "state"
    state.mkdir()
    state.chmod(0o777)
    plant(kind, state / name, home / "key")
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


def test_existing_files_open_to_others_become_private(tmp_path: Path) -> None:
    for name in ("key", "lock", "sidecar.log"):
        (tmp_path / name).write_bytes(b"k" * 32)
        (tmp_path / name).chmod(0o666)

    prepare_state_dir(tmp_path)

    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}


def test_files_are_created_private(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    old_mask = os.umask(0)
    try:
        outbox = open_outbox(state)
        fingerprint_webhook(WEBHOOK, state)
    finally:
        os.umask(old_mask)

    with closing(outbox):
        assert mode(tmp_path / "deep") == 0o700
        assert {path.name: mode(path) for path in state.iterdir()} == dict.fromkeys(FILES[:5], 0o600)


def test_checks_do_not_release_locks_of_an_open_outbox(tmp_path: Path) -> None:
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    command = [sys.executable, "-c", script, str(tmp_path / "outbox.sqlite3")]
    with closing(open_outbox(tmp_path)) as outbox:
        with outbox.transaction():
            prepare_state_dir(tmp_path)
            open_outbox(tmp_path).close()
            other = subprocess.run(command, capture_output=True, text=True, check=False)

        assert "database is locked" in other.stderr
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_directory_replaced_after_its_check_is_noticed(tmp_path: Path) -> None:
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
