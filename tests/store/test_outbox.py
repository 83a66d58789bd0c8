"""The outbox: each alert is sent once, however many processes share it, and none is forgotten."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import PIPE

import pytest

from cwnotify.alerts.events.runs import LoadSample, Outcome, Run, RunResult
from cwnotify.host.processes import ProcessIdentity
from cwnotify.store.outbox import (
    ABANDONED_REASON,
    ABANDONMENT_MARGIN,
    DAMAGED_REASON,
    DELIVERED_RETENTION,
    IN_MEMORY_PATH,
    LEASE_DURATION,
    MAX_DUE_DELAY,
    NO_WEBHOOK_REASON,
    Outbox,
)
from cwnotify.store.schema import OutboxMessage

NOW = 1_795_316_400.0
DELIVERY_TIMEOUT = 24 * 3600.0
ABANDONED_AFTER = DELIVERY_TIMEOUT + ABANDONMENT_MARGIN
DESTINATION = "webhook-1"
OTHER_DESTINATION = "webhook-2"
KERNEL = ProcessIdentity(42, "1000", "train-3", "boot", "ns")
RUN = Run("r1", "resnet50", NOW)
PAYLOAD = {"text": "hello"}

Connect = Callable[[], Outbox]


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "outbox.sqlite3" if request.param == "file" else IN_MEMORY_PATH


@pytest.fixture
def connect(path: Path | str) -> Iterator[Connect]:
    """Opens another connection to the same outbox."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Outbox(path, durable=False)))


@pytest.fixture
def outbox(connect: Connect) -> Outbox:
    return connect()


def ids(outbox: Outbox, *states: str) -> list[str]:
    return [message.id for message in outbox.list_messages(*states)]


def claim(outbox: Outbox, now: float, owner: str = "me", destination: str = DESTINATION) -> OutboxMessage:
    """Claim a message, which must be due."""
    message = outbox.claim_next(destination, owner, now)
    assert message is not None
    return message


# Enqueueing


def test_alert_is_enqueued_only_once(outbox: Outbox) -> None:
    assert outbox.enqueue("a", DESTINATION, PAYLOAD, NOW)
    assert not outbox.enqueue("a", OTHER_DESTINATION, {"text": "another"}, NOW + 1)
    assert claim(outbox, NOW).payload == PAYLOAD
    outbox.mark_delivered("a", NOW + 2)

    assert not outbox.enqueue("a", DESTINATION, PAYLOAD, NOW + 3)
    assert outbox.claim_next(DESTINATION, "me", NOW + 3) is None


def test_skipped_alert_is_never_enqueued(outbox: Outbox) -> None:
    assert outbox.mark_skipped("a", NOW)

    assert not outbox.enqueue("a", DESTINATION, PAYLOAD, NOW)
    assert outbox.claim_next(DESTINATION, "me", NOW) is None


def test_enqueued_alert_cannot_be_skipped(outbox: Outbox) -> None:
    outbox.enqueue("a", DESTINATION, PAYLOAD, NOW)

    assert not outbox.mark_skipped("a", NOW)
    assert ids(outbox, "pending") == ["a"]


def test_alert_without_webhook_is_dead_with_the_reason(outbox: Outbox) -> None:
    outbox.enqueue("a", "", PAYLOAD, NOW)

    (message,) = outbox.list_messages("dead")
    assert message.reason == NO_WEBHOOK_REASON
    assert message.settled == NOW


# Leases


def test_claimed_message_is_not_claimed_by_another_owner(connect: Connect) -> None:
    one, other = connect(), connect()
    one.enqueue("a", DESTINATION, PAYLOAD, NOW)

    claimed = claim(one, NOW, "one")

    assert (claimed.id, claimed.attempts) == ("a", 1)
    assert other.claim_next(DESTINATION, "other", NOW + LEASE_DURATION - 0.01) is None


def test_expired_lease_can_be_claimed_by_another_owner(connect: Connect) -> None:
    one, other = connect(), connect()
    one.enqueue("a", DESTINATION, PAYLOAD, NOW)
    claim(one, NOW, "one")

    again = claim(other, NOW + LEASE_DURATION, "other")

    assert (again.id, again.attempts) == ("a", 2)


def test_owner_that_read_the_clock_slightly_earlier_claims_nothing(connect: Connect) -> None:
    one, other = connect(), connect()
    one.enqueue("a", DESTINATION, PAYLOAD, NOW - 10)
    claim(one, NOW, "one")

    assert other.claim_next(DESTINATION, "other", NOW - 0.5) is None


def test_two_owners_claim_different_messages(connect: Connect) -> None:
    one, other = connect(), connect()
    one.enqueue("a", DESTINATION, PAYLOAD, NOW)
    one.enqueue("b", DESTINATION, PAYLOAD, NOW)

    assert {claim(one, NOW, "one").id, claim(other, NOW, "other").id} == {"a", "b"}


def test_message_is_claimed_only_for_its_destination_and_when_due(outbox: Outbox) -> None:
    outbox.enqueue("later", DESTINATION, PAYLOAD, NOW, due=NOW + 5)
    outbox.enqueue("elsewhere", OTHER_DESTINATION, PAYLOAD, NOW)

    assert outbox.claim_next(DESTINATION, "me", NOW + 4.9) is None
    assert claim(outbox, NOW + 5).id == "later"
    assert outbox.claim_next(DESTINATION, "me", NOW + 5) is None


def test_longest_due_message_is_claimed_first(outbox: Outbox) -> None:
    outbox.enqueue("second", DESTINATION, PAYLOAD, NOW, due=NOW + 2)
    outbox.enqueue("first", DESTINATION, PAYLOAD, NOW + 1, due=NOW + 1)
    outbox.enqueue("third", DESTINATION, PAYLOAD, NOW, due=NOW + 2)

    assert [claim(outbox, NOW + 9).id for _ in range(3)] == ["first", "second", "third"]


def test_released_lease_of_dead_owner_can_be_claimed_at_once(connect: Connect) -> None:
    one, other = connect(), connect()
    for id in "ab":
        one.enqueue(id, DESTINATION, PAYLOAD, NOW)
    claim(one, NOW, "gone")
    claim(one, NOW, "alive")
    assert sorted(other.list_lease_owners(NOW + 1)) == ["alive", "gone"]

    other.release_leases("gone")

    assert other.list_lease_owners(NOW + 1) == ["alive"]
    assert claim(other, NOW + 1, "other").id == "a"
    assert other.claim_next(DESTINATION, "other", NOW + 1) is None


def test_retried_message_waits_until_due_and_stays_text_only(outbox: Outbox) -> None:
    outbox.enqueue("a", DESTINATION, PAYLOAD, NOW)
    claim(outbox, NOW)

    outbox.schedule_retry("a", NOW + 30, "503", text_only=True)

    assert outbox.claim_next(DESTINATION, "me", NOW + 29) is None
    again = claim(outbox, NOW + 30)
    assert (again.attempts, again.text_only, again.reason) == (2, True, "503")


@pytest.mark.parametrize("hours", [1.5, 24 * 365])
def test_messages_are_claimed_after_the_clock_was_set_back(outbox: Outbox, hours: float) -> None:
    outbox.enqueue("due", DESTINATION, PAYLOAD, NOW)
    outbox.enqueue("leased", DESTINATION, PAYLOAD, NOW)
    claim(outbox, NOW, "one")

    earlier = NOW - hours * 3600

    assert {claim(outbox, earlier, "other").id, claim(outbox, earlier, "other").id} == {"due", "leased"}


def test_longest_delay_that_slack_may_request_is_respected(outbox: Outbox) -> None:
    outbox.enqueue("a", DESTINATION, PAYLOAD, NOW, due=NOW + MAX_DUE_DELAY)

    assert outbox.claim_next(DESTINATION, "me", NOW) is None
    assert claim(outbox, NOW + MAX_DUE_DELAY).id == "a"


def test_next_due_time_is_when_a_message_can_be_claimed(outbox: Outbox) -> None:
    assert outbox.next_due_time(DESTINATION) is None
    outbox.enqueue("a", DESTINATION, PAYLOAD, NOW, due=NOW + 7)
    outbox.enqueue("b", DESTINATION, PAYLOAD, NOW, due=NOW + 9)
    outbox.enqueue("c", OTHER_DESTINATION, PAYLOAD, NOW)
    assert outbox.next_due_time(DESTINATION) == NOW + 7

    claim(outbox, NOW + 7)

    assert outbox.next_due_time(DESTINATION) == NOW + 9
    outbox.mark_dead("b", "why", NOW)
    assert outbox.next_due_time(DESTINATION) == NOW + 7 + LEASE_DURATION
    outbox.mark_delivered("a", NOW)
    assert outbox.next_due_time(DESTINATION) is None


# Settled messages


def test_settled_message_has_its_state_reason_and_time(outbox: Outbox) -> None:
    for id in ("delivered", "rejected"):
        outbox.enqueue(id, DESTINATION, PAYLOAD, NOW)
    outbox.mark_delivered("delivered", NOW + 1)
    outbox.mark_dead("rejected", "404 no_service", NOW + 2)

    messages = {message.id: (message.state, message.reason, message.settled) for message in outbox.list_messages()}

    assert messages == {"delivered": ("done", "", NOW + 1), "rejected": ("dead", "404 no_service", NOW + 2)}


def test_dead_message_is_requeued_for_the_current_webhook(outbox: Outbox) -> None:
    outbox.enqueue("a", "", PAYLOAD, NOW)
    outbox.enqueue("done", DESTINATION, PAYLOAD, NOW)
    outbox.mark_delivered("done", NOW)

    assert outbox.requeue_dead(["a", "done", "unknown"], DESTINATION, NOW + 90_000) == 1

    message = claim(outbox, NOW + 90_000)
    assert (message.id, message.attempts, message.text_only, message.settled) == ("a", 1, False, None)
    # The delivery timeout starts again.
    assert message.created == NOW + 90_000
    assert ids(outbox, "done") == ["done"]


def test_only_dead_messages_are_deleted_on_request(outbox: Outbox) -> None:
    for id in ("pending", "done", "dead"):
        outbox.enqueue(id, DESTINATION, PAYLOAD, NOW)
    outbox.mark_delivered("done", NOW)
    outbox.mark_dead("dead", "why", NOW)

    assert outbox.delete_dead(["pending", "done", "dead"]) == 1

    assert ids(outbox) == ["pending", "done"]


def test_old_settled_messages_expire_except_dead_ones(outbox: Outbox) -> None:
    for id in ("old", "new", "dead"):
        outbox.enqueue(id, DESTINATION, PAYLOAD, NOW)
    outbox.mark_skipped("skipped", NOW)
    outbox.mark_delivered("old", NOW)
    outbox.mark_delivered("new", NOW + 10)
    outbox.mark_dead("dead", "why", NOW)

    outbox.expire_messages(NOW + DELIVERED_RETENTION + 5, DELIVERY_TIMEOUT)

    assert ids(outbox) == ["new", "dead"]


def test_abandoned_message_is_dead_but_not_a_claimed_or_young_one(outbox: Outbox) -> None:
    for id in ("claimed", "abandoned"):
        outbox.enqueue(id, OTHER_DESTINATION, PAYLOAD, NOW)
    outbox.enqueue("young", OTHER_DESTINATION, PAYLOAD, NOW + 10)
    claim(outbox, NOW + ABANDONED_AFTER, destination=OTHER_DESTINATION)

    outbox.expire_messages(NOW + ABANDONED_AFTER + 5, DELIVERY_TIMEOUT)

    assert ids(outbox, "pending") == ["claimed", "young"]
    dead = [(message.id, message.reason) for message in outbox.list_messages("dead")]
    assert dead == [("abandoned", ABANDONED_REASON)]


def test_old_message_to_an_active_destination_is_still_sent(outbox: Outbox) -> None:
    outbox.enqueue("ours", DESTINATION, PAYLOAD, NOW)
    outbox.enqueue("others", OTHER_DESTINATION, PAYLOAD, NOW)
    outbox.expire_messages(NOW + ABANDONED_AFTER + 5, DELIVERY_TIMEOUT, [DESTINATION])

    assert ids(outbox, "dead") == ["others"]
    assert claim(outbox, NOW + ABANDONED_AFTER + 5).id == "ours"


def test_message_is_replaced_only_before_its_first_attempt(outbox: Outbox) -> None:
    corrected = {"text": "corrected"}
    outbox.enqueue("a", DESTINATION, PAYLOAD, NOW, due=NOW + 2)
    assert outbox.replace_unsent("a", corrected, NOW + 1)

    message = claim(outbox, NOW + 1)

    assert message.payload == corrected
    assert not outbox.replace_unsent("a", PAYLOAD, NOW + 1)
    outbox.schedule_retry("a", NOW + 2, "503", False)
    assert not outbox.replace_unsent("a", PAYLOAD, NOW + 2)
    assert not outbox.replace_unsent("unknown", PAYLOAD, NOW + 2)


def test_damaged_message_is_dead_and_does_not_block_others(path: Path | str, outbox: Outbox) -> None:
    for id in ("damaged", "whole"):
        outbox.enqueue(id, DESTINATION, PAYLOAD, NOW)
    with closing(sqlite3.connect(path, uri=str(path).startswith("file:"), isolation_level=None)) as db:
        db.execute("UPDATE messages SET payload = substr(payload, 1, 9) WHERE id = 'damaged'")

    assert claim(outbox, NOW).id == "whole"
    dead = [(message.id, message.reason) for message in outbox.list_messages("dead")]
    assert dead == [("damaged", DAMAGED_REASON)]


# Runs


def test_run_is_open_until_it_is_removed(outbox: Outbox) -> None:
    load = LoadSample(NOW + 60, 97.0, 1, 2)
    outbox.add_open_run(RUN, KERNEL, DESTINATION, NOW, "me")
    outbox.add_open_run(RUN, KERNEL, OTHER_DESTINATION, NOW + 1, "other")
    outbox.record_run_heartbeat("r1", NOW + 60, load)
    outbox.set_run_owner("r1", "successor")

    (run,) = outbox.list_open_runs()

    assert (run.run, run.watched, run.destination, run.owner) == (RUN, KERNEL, DESTINATION, "successor")
    assert (run.seen, run.vitals, run.ended) == (NOW + 60, load, None)
    assert outbox.remove_open_run("r1")
    assert not outbox.remove_open_run("r1")
    assert outbox.list_open_runs() == []


def test_reported_run_is_not_opened_again(outbox: Outbox) -> None:
    outbox.enqueue("r1", DESTINATION, PAYLOAD, NOW)

    outbox.add_open_run(RUN, KERNEL, DESTINATION, NOW)

    assert outbox.list_open_runs() == []


def test_held_run_has_its_result(outbox: Outbox) -> None:
    ended = RunResult(RUN, Outcome.FINISHED, 3.0, NOW + 3)

    outbox.hold_ended_run(ended, KERNEL, DESTINATION, NOW + 3, "me")

    (run,) = outbox.list_open_runs()
    assert (run.run, run.ended, run.owner) == (RUN, ended, "me")


def test_unreadable_run_of_another_version_hides_no_other_run(tmp_path: Path) -> None:
    path = tmp_path / "shared.sqlite3"
    with closing(Outbox(path)) as outbox:
        outbox.add_open_run(RUN, KERNEL, DESTINATION, NOW)
        outbox.add_open_run(Run("r2", "later", NOW), KERNEL, DESTINATION, NOW)
        with closing(sqlite3.connect(path)) as newer, newer:
            newer.execute(
                'UPDATE runs SET run = replace(run, \'"kind": "cell"\', \'"kind": "dream"\') WHERE id = \'r1\''
            )

        assert [run.run.id for run in outbox.list_open_runs()] == ["r2"]


# Transactions


def test_failed_transaction_commits_nothing(connect: Connect) -> None:
    outbox, other = connect(), connect()

    def fail() -> None:
        with outbox.transaction():
            outbox.enqueue("a", DESTINATION, PAYLOAD, NOW)
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert ids(other) == []
    with outbox.transaction():
        outbox.enqueue("a", DESTINATION, PAYLOAD, NOW)
    assert ids(other) == ["a"]


FILL_THE_DISK = """
import resource, sqlite3, sys
from cwnotify.store.outbox import Outbox
outbox = Outbox(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
for number in range(2_000):
    try:
        with outbox.transaction():
            outbox.enqueue(f"m{number}", "here", {"text": "x" * 3000}, 1.0)
    except sqlite3.Error as error:
        print(number, error)
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with outbox.transaction():
    outbox.enqueue("after", "here", {"text": "room again"}, 1.0)
print(len(outbox.list_messages("pending")))
"""


def test_full_disk_costs_one_alert_only(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, tmp_path / "outbox.sqlite3"], capture_output=True, text=True, check=False
    )

    assert process.returncode == 0, process.stderr
    error, pending_count = process.stdout.splitlines()
    assert "rollback" not in error, "another error hides the one that explains the failure"
    assert int(pending_count) == int(error.split()[0]) + 1


def test_committed_alert_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    script = "import os, sys; from cwnotify.store.outbox import Outbox; outbox = Outbox(sys.argv[1]); "
    script += 'outbox.enqueue("a", "here", {"text": "x"}, 1.0); os.kill(os.getpid(), 9)'
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -9

    with closing(Outbox(path)) as outbox:
        assert ids(outbox, "pending") == ["a"]


# Concurrency


def test_threads_deliver_each_message_once(connect: Connect, path: Path | str) -> None:
    outbox, count_per_thread = connect(), 30
    start = threading.Barrier(4)

    def produce(name: str) -> list[str]:
        with closing(Outbox(path, durable=False)) as own:
            start.wait(10)
            for number in range(count_per_thread):
                with own.transaction():
                    own.enqueue(f"{name}{number}", DESTINATION, PAYLOAD, NOW)
                own.list_open_runs()
        return []

    def deliver(name: str) -> list[str]:
        delivered = []
        with closing(Outbox(path, durable=False)) as own:
            start.wait(10)
            while len(ids(own, "done")) < 2 * count_per_thread:
                if message := own.claim_next(DESTINATION, name, NOW):
                    delivered.append(message.id)
                    own.mark_delivered(message.id, NOW)
        return delivered

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(task, name) for task in (produce, deliver) for name in ("one", "two")]
        delivered = [id for task in work for id in task.result(20)]

    assert sorted(delivered) == sorted(ids(outbox, "done"))
    assert len(delivered) == 2 * count_per_thread


CLAIM_ALL = """
import sys, time
from cwnotify.store.outbox import Outbox
outbox = Outbox(sys.argv[1], durable=False)
print("ready", flush=True)
sys.stdin.readline()
while message := outbox.claim_next("here", sys.argv[2], time.time()):
    print(message.id)
    time.sleep(0.0005)  # much less than an HTTP request, but enough for the other process to claim one
    outbox.mark_delivered(message.id, time.time())
"""


def run_at_once(script: str, *argument_lists: list[str]) -> list[str]:
    """Run `script` once for each list of arguments, all starting together. Return what each printed."""
    commands = [[sys.executable, "-c", script, *arguments] for arguments in argument_lists]
    workers = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) for command in commands]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=30)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    return outputs


def test_two_processes_claim_each_message_once(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    all_ids = {f"m{number}" for number in range(200)}
    with closing(Outbox(path, durable=False)) as outbox:
        for id in all_ids:
            outbox.enqueue(id, "here", PAYLOAD, 0.0)

        claimed = [output.split() for output in run_at_once(CLAIM_ALL, [str(path), "one"], [str(path), "two"])]

        assert Counter(claimed[0] + claimed[1]) == dict.fromkeys(all_ids, 1)
        assert all(claimed), "one process claimed everything, so the test proves nothing"
        assert {message.attempts for message in outbox.list_messages("done")} == {1}


def test_concurrent_first_starts_all_open_the_outbox(tmp_path: Path) -> None:
    count = 8
    with ThreadPoolExecutor(count) as pool:
        for attempt in range(12):
            barrier = threading.Barrier(count)

            def enqueue(
                id: str, path: Path = tmp_path / f"{attempt}.sqlite3", barrier: threading.Barrier = barrier
            ) -> bool:
                barrier.wait(10)
                with closing(Outbox(path, durable=False)) as outbox:
                    return outbox.enqueue(id, DESTINATION, PAYLOAD, NOW)

            assert all(pool.map(enqueue, map(str, range(count))))


# Files


def test_outbox_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        with closing(Outbox(tmp_path / "outbox.sqlite3")) as outbox:
            outbox.enqueue("a", DESTINATION, PAYLOAD, NOW)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(old_mask)

    assert modes.keys() >= {"outbox.sqlite3", "outbox.sqlite3-wal"}
    assert set(modes.values()) == {0o600}


def test_outbox_in_memory_disappears_with_its_last_connection() -> None:
    one, other = Outbox(IN_MEMORY_PATH), Outbox(IN_MEMORY_PATH)
    one.enqueue("a", DESTINATION, PAYLOAD, NOW)
    one.close()
    assert ids(other) == ["a"]
    other.close()

    with closing(Outbox(IN_MEMORY_PATH)) as again:
        assert ids(again) == []
