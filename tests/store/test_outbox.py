"""The outbox: each alert once, however many processes share it, and none forgotten."""

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
    ABANDONMENT_TIMEOUT,
    DAMAGED_REASON,
    DELIVERED_RETENTION,
    IN_MEMORY_PATH,
    LEASE_DURATION,
    MAX_DUE_DELAY,
    NO_WEBHOOK_REASON,
    Outbox,
)

NOW = 1_795_316_400.0
HERE = "webhook-1"
THERE = "webhook-2"
KERNEL = ProcessIdentity(42, "1000", "train-3", "boot", "ns")
RUN = Run("r1", "resnet50", NOW)
HELLO = {"text": "hello"}

Connect = Callable[[], Outbox]


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "outbox.sqlite3" if request.param == "file" else IN_MEMORY_PATH


@pytest.fixture
def connect(path: Path | str) -> Iterator[Connect]:
    """Opens one more connection to the same outbox."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Outbox(path, durable=False)))


@pytest.fixture
def box(connect: Connect) -> Outbox:
    return connect()


def ids(box: Outbox, *states: str) -> list[str]:
    return [message.id for message in box.list_messages(*states)]


# Once


def test_an_alert_is_put_once_for_ever(box):
    assert box.put("a", HERE, HELLO, NOW)
    assert not box.put("a", THERE, {"text": "another"}, NOW + 1)
    assert box.claim(HERE, "me", NOW).payload == HELLO
    box.done("a", NOW + 2)

    assert not box.put("a", HERE, HELLO, NOW + 3)
    assert box.claim(HERE, "me", NOW + 3) is None


def test_an_alert_that_is_not_wanted_is_never_put(box):
    assert box.skip("a", NOW)

    assert not box.put("a", HERE, HELLO, NOW)
    assert box.claim(HERE, "me", NOW) is None


def test_an_alert_that_was_put_is_not_skipped_any_more(box):
    box.put("a", HERE, HELLO, NOW)

    assert not box.skip("a", NOW)
    assert ids(box, "pending") == ["a"]


def test_without_a_webhook_an_alert_is_kept_as_dead_with_the_reason(box):
    box.put("a", "", HELLO, NOW)

    (message,) = box.messages("dead")
    assert message.reason == NO_WEBHOOK_REASON
    assert message.settled == NOW


# Leases


def test_what_one_has_claimed_no_other_gets(connect):
    one, other = connect(), connect()
    one.put("a", HERE, HELLO, NOW)

    claimed = one.claim(HERE, "one", NOW)

    assert (claimed.id, claimed.attempts) == ("a", 1)
    assert other.claim(HERE, "other", NOW + LEASE_DURATION - 0.01) is None


def test_a_lease_that_ran_out_is_anybodys(connect):
    one, other = connect(), connect()
    one.put("a", HERE, HELLO, NOW)
    one.claim(HERE, "one", NOW)

    again = other.claim(HERE, "other", NOW + LEASE_DURATION)

    assert (again.id, again.attempts) == ("a", 2)


def test_who_looked_at_the_clock_a_moment_earlier_but_comes_later_gets_nothing(connect):
    one, other = connect(), connect()
    one.put("a", HERE, HELLO, NOW - 10)
    one.claim(HERE, "one", NOW)

    assert other.claim(HERE, "other", NOW - 0.5) is None


def test_of_two_messages_each_gets_one(connect):
    one, other = connect(), connect()
    one.put("a", HERE, HELLO, NOW)
    one.put("b", HERE, HELLO, NOW)

    assert {one.claim(HERE, "one", NOW).id, other.claim(HERE, "other", NOW).id} == {"a", "b"}


def test_a_message_is_claimed_only_for_its_own_webhook_and_when_it_is_due(box):
    box.put("later", HERE, HELLO, NOW, due=NOW + 5)
    box.put("elsewhere", THERE, HELLO, NOW)

    assert box.claim(HERE, "me", NOW + 4.9) is None
    assert box.claim(HERE, "me", NOW + 5).id == "later"
    assert box.claim(HERE, "me", NOW + 5) is None


def test_the_message_that_is_due_longest_comes_first(box):
    box.put("second", HERE, HELLO, NOW, due=NOW + 2)
    box.put("first", HERE, HELLO, NOW + 1, due=NOW + 1)
    box.put("third", HERE, HELLO, NOW, due=NOW + 2)

    assert [box.claim(HERE, "me", NOW + 9).id for _ in range(3)] == ["first", "second", "third"]


def test_what_a_dead_owner_had_claimed_is_freed_at_once(connect):
    one, other = connect(), connect()
    for id in "ab":
        one.put(id, HERE, HELLO, NOW)
    one.claim(HERE, "gone", NOW)
    one.claim(HERE, "alive", NOW)
    assert sorted(other.lease_owners(NOW + 1)) == ["alive", "gone"]

    other.break_leases("gone")

    assert other.lease_owners(NOW + 1) == ["alive"]
    assert other.claim(HERE, "other", NOW + 1).id == "a"
    assert other.claim(HERE, "other", NOW + 1) is None


def test_a_message_that_was_given_back_waits_until_it_is_due_and_remembers_its_form(box):
    box.put("a", HERE, HELLO, NOW)
    box.claim(HERE, "me", NOW)

    box.retry("a", NOW + 30, "503", text_only=True)

    assert box.claim(HERE, "me", NOW + 29) is None
    again = box.claim(HERE, "me", NOW + 30)
    assert (again.attempts, again.text_only, again.reason) == (2, True, "503")


@pytest.mark.parametrize("hours", [1.5, 24 * 365])
def test_a_clock_that_was_set_back_holds_nothing_up(box, hours):
    box.put("due", HERE, HELLO, NOW)
    box.put("leased", HERE, HELLO, NOW)
    box.claim(HERE, "one", NOW)

    earlier = NOW - hours * 3600

    assert {box.claim(HERE, "other", earlier).id, box.claim(HERE, "other", earlier).id} == {"due", "leased"}


def test_a_pause_as_long_as_slack_may_ask_for_is_kept(box):
    box.put("a", HERE, HELLO, NOW, due=NOW + MAX_DUE_DELAY)

    assert box.claim(HERE, "me", NOW) is None
    assert box.claim(HERE, "me", NOW + MAX_DUE_DELAY) is not None


def test_the_next_message_is_due_when_it_can_be_claimed(box):
    assert box.next_due(HERE) is None
    box.put("a", HERE, HELLO, NOW, due=NOW + 7)
    box.put("b", HERE, HELLO, NOW, due=NOW + 9)
    box.put("c", THERE, HELLO, NOW)
    assert box.next_due(HERE) == NOW + 7

    box.claim(HERE, "me", NOW + 7)

    assert box.next_due(HERE) == NOW + 9
    box.dead("b", "why", NOW)
    assert box.next_due(HERE) == NOW + 7 + LEASE_DURATION
    box.done("a", NOW)
    assert box.next_due(HERE) is None


# The end of a message


def test_what_became_of_a_message_is_kept_for_a_person_to_read(box):
    for id in ("delivered", "refused"):
        box.put(id, HERE, HELLO, NOW)
    box.done("delivered", NOW + 1)
    box.dead("refused", "404 no_service", NOW + 2)

    told = {message.id: (message.state, message.reason, message.settled) for message in box.messages()}

    assert told == {"delivered": ("done", "", NOW + 1), "refused": ("dead", "404 no_service", NOW + 2)}


def test_a_dead_message_is_revived_for_the_webhook_that_is_set_now(box):
    box.put("a", "", HELLO, NOW)
    box.put("done", HERE, HELLO, NOW)
    box.done("done", NOW)

    assert box.revive(["a", "done", "unknown"], HERE, NOW + 90_000) == 1

    message = box.claim(HERE, "me", NOW + 90_000)
    assert (message.id, message.attempts, message.text_only, message.settled) == ("a", 1, False, None)
    # Patience begins anew.
    assert message.created == NOW + 90_000
    assert ids(box, "done") == ["done"]


def test_only_dead_messages_are_purged(box):
    for id in ("pending", "done", "dead"):
        box.put(id, HERE, HELLO, NOW)
    box.done("done", NOW)
    box.dead("dead", "why", NOW)

    assert box.purge(["pending", "done", "dead"]) == 1

    assert ids(box) == ["pending", "done"]


def test_what_was_settled_long_ago_is_swept_away_but_the_dead_stay(box):
    for id in ("old", "new", "dead"):
        box.put(id, HERE, HELLO, NOW)
    box.skip("skipped", NOW)
    box.done("old", NOW)
    box.done("new", NOW + 10)
    box.dead("dead", "why", NOW)

    box.sweep(NOW + DELIVERED_RETENTION + 5)

    assert ids(box) == ["new", "dead"]


def test_what_nobody_came_to_deliver_is_buried_but_nothing_that_is_under_way(box):
    for id in ("claimed", "forgotten"):
        box.put(id, THERE, HELLO, NOW)
    box.put("young", THERE, HELLO, NOW + 10)
    box.claim(THERE, "me", NOW + ABANDONMENT_TIMEOUT)

    box.sweep(NOW + ABANDONMENT_TIMEOUT + 5)

    assert ids(box, "pending") == ["claimed", "young"]
    assert [(message.id, message.reason) for message in box.messages("dead")] == [("forgotten", ABANDONED_REASON)]


def test_a_message_is_replaced_only_until_somebody_has_begun_to_send_it(box):
    truer = {"text": "truer"}
    box.put("a", HERE, HELLO, NOW, due=NOW + 2)
    assert box.replace("a", truer, NOW + 1)

    message = box.claim(HERE, "me", NOW + 1)

    assert message.payload == truer
    assert not box.replace("a", HELLO, NOW + 1)
    box.retry("a", NOW + 2, "503", False)
    assert not box.replace("a", HELLO, NOW + 2)
    assert not box.replace("unknown", HELLO, NOW + 2)


# Runs


def test_a_run_is_open_until_it_is_closed(box):
    vitals = LoadSample(NOW + 60, 97.0, 1, 2)
    box.open_run(RUN, KERNEL, HERE, NOW, "me")
    box.open_run(RUN, KERNEL, THERE, NOW + 1, "other")
    box.see_run("r1", NOW + 60, vitals)
    box.own_run("r1", "heir")

    (found,) = box.open_runs()

    assert (found.run, found.watched, found.destination, found.owner) == (RUN, KERNEL, HERE, "heir")
    assert (found.seen, found.vitals, found.ended) == (NOW + 60, vitals, None)
    assert box.close_run("r1")
    assert not box.close_run("r1")
    assert box.open_runs() == []


def test_a_run_that_was_told_is_not_opened_again(box):
    box.put("r1", HERE, HELLO, NOW)

    box.open_run(RUN, KERNEL, HERE, NOW)

    assert box.open_runs() == []


def test_a_run_that_is_held_keeps_how_it_ended(box):
    ended = RunResult(RUN, Outcome.FINISHED, 3.0, NOW + 3)

    box.hold_run(ended, KERNEL, HERE, NOW + 3, "me")

    (found,) = box.open_runs()
    assert (found.run, found.ended, found.owner) == (RUN, ended, "me")


def test_a_run_that_another_version_wrote_and_that_cannot_be_read_hides_no_other(connect, tmp_path):
    box = Outbox(tmp_path / "shared.sqlite3")
    box.add_open_run(RUN, KERNEL, HERE, NOW)
    box.add_open_run(Run("r2", "later", NOW), KERNEL, HERE, NOW)
    with closing(sqlite3.connect(tmp_path / "shared.sqlite3")) as newer, newer:
        newer.execute('UPDATE runs SET run = replace(run, \'"kind": "cell"\', \'"kind": "dream"\') WHERE id = \'r1\'')

    assert [one.run.id for one in box.list_open_runs()] == ["r2"]
    box.close()


# All or nothing


def test_a_transaction_that_fails_leaves_nothing_behind(connect):
    box, other = connect(), connect()

    def stumble() -> None:
        with box.transaction():
            box.put("a", HERE, HELLO, NOW)
            raise KeyError

    with pytest.raises(KeyError):
        stumble()

    assert ids(other) == []
    with box.transaction():
        box.put("a", HERE, HELLO, NOW)
    assert ids(other) == ["a"]


FILL_THE_DISK = """
import resource, sqlite3, sys
from cwnotify.store.outbox import Outbox
box = Outbox(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
for number in range(2_000):
    try:
        with box.transaction():
            box.put(f"m{number}", "here", {"text": "x" * 3000}, 1.0)
    except sqlite3.Error as error:
        print(number, error)
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with box.transaction():
    box.put("after", "here", {"text": "room again"}, 1.0)
print(len(box.messages("pending")))
"""


def test_a_full_disk_costs_one_alert_and_no_more(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, tmp_path / "outbox.sqlite3"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    first, error, *_ = done.stdout.split(maxsplit=2)[0], done.stdout.split("\n")[0]
    assert "rollback" not in error, "the error that tells why is hidden by another"
    assert int(done.stdout.split("\n")[1]) == int(first) + 1


# Several at the same time


def test_threads_do_not_get_into_each_others_way(connect, path):
    box, each = connect(), 30
    start = threading.Barrier(4)

    def produce(name: str) -> list[str]:
        with closing(Outbox(path, durable=False)) as mine:
            start.wait(10)
            for number in range(each):
                with mine.transaction():
                    mine.enqueue(f"{name}{number}", HERE, HELLO, NOW)
                mine.list_open_runs()
        return []

    def deliver(name: str) -> list[str]:
        found = []
        with closing(Outbox(path, durable=False)) as mine:
            start.wait(10)
            while len(ids(mine, "done")) < 2 * each:
                if message := mine.claim_next(HERE, name, NOW):
                    found.append(message.id)
                    mine.mark_delivered(message.id, NOW)
        return found

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(task, name) for task in (produce, deliver) for name in ("one", "two")]
        delivered = [id for task in work for id in task.result(20)]

    assert sorted(delivered) == sorted(ids(box, "done"))
    assert len(delivered) == 2 * each


CLAIM_ALL = """
import sys, time
from cwnotify.store.outbox import Outbox
box = Outbox(sys.argv[1], durable=False)
print("ready", flush=True)
sys.stdin.readline()
while message := box.claim("here", sys.argv[2], time.time()):
    print(message.id)
    time.sleep(0.0005)  # as much as nothing beside an HTTP request, but enough for the other to have its turn
    box.done(message.id, time.time())
"""


def run_at_once(script: str, *each: list[str]) -> list[str]:
    """Run `script` once for each list of arguments, all from the same moment on; gives what each printed."""
    commands = [[sys.executable, "-c", script, *arguments] for arguments in each]
    workers = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) for command in commands]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    printed = [worker.communicate(timeout=30)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    return printed


def test_two_processes_share_the_messages_without_sharing_one(tmp_path):
    path = tmp_path / "outbox.sqlite3"
    box = Outbox(path, durable=False)
    wanted = {f"m{number}" for number in range(200)}
    for id in wanted:
        box.enqueue(id, "here", HELLO, 0.0)

    told = [printed.split() for printed in run_at_once(CLAIM_ALL, [str(path), "one"], [str(path), "two"])]

    assert Counter(told[0] + told[1]) == dict.fromkeys(wanted, 1)
    assert all(told), "one did all the work: the test has shown nothing"
    assert {message.attempts for message in box.list_messages("done")} == {1}
    box.close()


def test_first_starts_at_the_same_moment_all_get_in(tmp_path):
    starts = 8
    with ThreadPoolExecutor(starts) as pool:
        for attempt in range(12):
            gate = threading.Barrier(starts)

            def put(id: str, path: Path = tmp_path / f"{attempt}.sqlite3", gate: threading.Barrier = gate) -> bool:
                gate.wait(10)
                with closing(Outbox(path, durable=False)) as box:
                    return box.enqueue(id, HERE, HELLO, NOW)

            assert all(pool.map(put, map(str, range(starts))))


def test_the_outbox_is_readable_by_its_owner_alone(tmp_path):
    old = os.umask(0)
    try:
        box = Outbox(tmp_path / "outbox.sqlite3")
        box.enqueue("a", HERE, HELLO, NOW)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        box.close()
    finally:
        os.umask(old)

    assert modes.keys() >= {"outbox.sqlite3", "outbox.sqlite3-wal"}
    assert set(modes.values()) == {0o600}


def test_what_was_committed_is_there_after_the_process_was_killed(tmp_path):
    path = tmp_path / "outbox.sqlite3"
    script = "import os, sys; from cwnotify.store.outbox import Outbox; box = Outbox(sys.argv[1]); "
    script += 'box.put("a", "here", {"text": "x"}, 1.0); os.kill(os.getpid(), 9)'
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -9

    box = Outbox(path)
    assert ids(box, "pending") == ["a"]
    box.close()


def test_the_outbox_in_memory_is_gone_with_its_last_connection():
    one, other = Outbox(IN_MEMORY_PATH), Outbox(IN_MEMORY_PATH)
    one.enqueue("a", HERE, HELLO, NOW)
    one.close()
    assert ids(other) == ["a"]
    other.close()

    again = Outbox(IN_MEMORY_PATH)
    assert ids(again) == []
    again.close()


def test_what_waited_while_nobody_ran_is_still_sent_by_whoever_has_its_webhook(box):
    box.put("ours", HERE, HELLO, NOW)
    box.put("others", THERE, HELLO, NOW)
    box.sweep(NOW + ABANDONMENT_TIMEOUT + 5, [HERE])

    assert [one.id for one in box.messages("dead")] == ["others"]
    assert box.claim(HERE, "me", NOW + ABANDONMENT_TIMEOUT + 5)


def test_a_damaged_message_is_dead_with_a_reason_and_keeps_none_of_the_others_back(path, box):
    for id in ("damaged", "whole"):
        box.put(id, HERE, HELLO, NOW)
    with closing(sqlite3.connect(path, uri=str(path).startswith("file:"), isolation_level=None)) as db:
        db.execute("UPDATE messages SET payload = substr(payload, 1, 9) WHERE id = 'damaged'")

    claimed = box.claim(HERE, "me", NOW)
    assert claimed
    assert claimed.id == "whole"
    assert [(one.id, one.reason) for one in box.messages("dead")] == [("damaged", DAMAGED_REASON)]
