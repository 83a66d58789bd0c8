"""The outbox moves to memory when the disk fails, and back, and reports both."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cwnotify.store.failover import FailoverOutbox
from cwnotify.store.outbox import Outbox

NOW = 1_795_316_400.0
PAYLOAD = {"text": "hello"}
ERROR = sqlite3.OperationalError("database or disk is full")


class Failover:
    """A failover outbox, and the calls that it made."""

    def __init__(self, directory: Path) -> None:
        self.problems: list[str] = []
        self.move_count = 0
        self.outbox = FailoverOutbox(directory, self.problems.append, self._count_move, owner="me")

    def _count_move(self) -> None:
        self.move_count += 1


@pytest.fixture
def failover(tmp_path: Path) -> Iterator[Failover]:
    failover = Failover(tmp_path)
    with closing(failover.outbox):
        yield failover


def ids(outbox: Outbox) -> list[str]:
    return [message.id for message in outbox.list_messages()]


def test_outbox_moves_to_memory_and_back(failover: Failover, tmp_path: Path) -> None:
    outbox = failover.outbox
    outbox.current.enqueue("before", "slack", PAYLOAD, NOW)

    outbox.fall_back_to_memory(ERROR)

    assert not outbox.is_home
    assert failover.move_count == 1
    assert failover.problems == [
        f"alerts are kept in memory only, because {tmp_path} cannot be written: database or disk is full"
    ]
    outbox.current.enqueue("during", "slack", PAYLOAD, NOW + 1)
    with closing(outbox.connect()) as connection:
        assert ids(connection) == ["before", "during"]

    outbox.return_to_disk()

    assert outbox.is_home
    assert failover.move_count == 2
    with closing(Outbox(tmp_path / "outbox.sqlite3")) as disk:
        assert ids(disk) == ["before", "during"]


def test_error_in_memory_is_raised(failover: Failover) -> None:
    failover.outbox.fall_back_to_memory(ERROR)

    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        failover.outbox.fall_back_to_memory(ERROR)
    assert len(failover.problems) == 1


def test_unusable_directory_is_a_problem_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outbox = FailoverOutbox(tmp_path / "file")

    with closing(outbox):
        assert "cannot be used" in outbox.problem
        assert "set CWNOTIFY_STATE_DIR" in outbox.problem
        assert "alerts are kept in memory" in outbox.problem
        outbox.current.enqueue("a", "slack", PAYLOAD, NOW)
        assert ids(outbox.current) == ["a"]
        with pytest.raises(sqlite3.OperationalError):
            outbox.fall_back_to_memory(ERROR)
