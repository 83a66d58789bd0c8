"""Slack is down, slow or wrong, or the sidecar is killed: no cell waits, and each alert arrives exactly once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cwnotify.settings import Secret, store_webhook
from tests.support.kernel import LONG_RUNNING_CODE, Kernel, World, alert_outcome, wait_for_alert
from tests.support.slack import LOGIN_PAGE, OK, REDIRECT, WEBHOOK_REMOVED, Answer, Slack
from tests.support.waiting import until


@dataclass
class Scenario:
    """A Slack, a world with its webhook, and a kernel with cwnotify loaded."""

    slack: Slack
    world: World
    kernel: Kernel

    def run(self, name: str, body: str = "1") -> None:
        """Run a registered cell."""
        assert self.kernel.run(f"%%notify_on_finish {name}\n{body}").status == "ok"

    def outbox(self, *arguments: str) -> str:
        """Return the output of ``cwnotify outbox``, which must succeed."""
        result = self.world.execute("cwnotify", "outbox", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def wait_for_failed_attempt(self, name: str) -> str:
        """Wait until the first delivery attempt has failed. Return the stored reason."""

        def reason() -> str:
            return next(
                (m.reason for m in self.world.outbox_messages("pending", "dead") if f"*{name}*" in str(m.payload)), ""
            )

        return until(reason, 15, "an attempt that fails")

    def end_and_read_texts(self) -> list[str]:
        """Kill the kernel, wait until the sidecar has exited, and return the delivered texts."""
        self.kernel.kill()
        self.world.wait_for_sidecars_to_exit()
        return [payload["text"] for payload in self.slack.payloads]


@contextmanager
def start_scenario(folder: Path) -> Iterator[Scenario]:
    with Slack() as slack, World(folder, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        yield Scenario(slack, world, kernel)


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Scenario]:
    with start_scenario(tmp_path) as scenario:
        yield scenario


# Answers after which the sidecar waits some time before it retries.
SLOW_ANSWERS = {
    "hanging": Answer(mode="hang"),
    "login page": LOGIN_PAGE,
    "redirect": REDIRECT,
    "nearly ok": Answer(200, "OK"),
}


@pytest.fixture(scope="module", autouse=True)
def slow_scenarios(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scenario]]:
    """Start before this module's other tests and check after them, so that the waits overlap."""
    with ExitStack() as stack:
        scenarios = {}
        for name, answer in SLOW_ANSWERS.items():
            scenarios[name] = scenario = stack.enter_context(start_scenario(tmp_path_factory.mktemp("slow")))
            scenario.slack.next_answers.append(answer)
            scenario.run("first")
        yield scenarios


def test_hanging_slack_delays_no_cell(scenario: Scenario) -> None:
    scenario.slack.next_answers += [Answer(mode="hang")] * 9
    scenario.run("first")
    until(lambda: len(scenario.slack.received) == 1, 10, "the first request")

    for name in ("second", "third"):
        scenario.run(name, "'no matter what'")
    failed, aborted = scenario.kernel.run_all("%%notify_on_finish fourth\n1 / 0", "1")

    assert (failed.status, aborted.status) == ("error", "aborted")
    # The first request still hangs: no cell waited for its end.
    assert len(scenario.slack.received) == 1
    until(lambda: len(scenario.world.outbox_messages("pending")) == 4, 15, "every alert on disk")


def test_refused_connections_delay_no_cell(scenario: Scenario) -> None:
    scenario.slack.refuse_connections()
    scenario.run("away")
    assert "the connection was refused" in scenario.wait_for_failed_attempt("away")
    scenario.slack.accept_connections()

    wait_for_alert(scenario.slack, "away")
    assert len(scenario.end_and_read_texts()) == 1


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(500, "rollup_error"), Answer(503, "")],
        [Answer(502, "<html>Bad Gateway</html>", {"Content-Type": "text/html"})],
        [Answer(mode="reset")],
        [Answer(mode="cut")],
    ],
    ids=["500 and 503", "a proxy's 502", "reset", "cut off"],
)
def test_alert_arrives_once_slack_recovers(answers: list[Answer], scenario: Scenario) -> None:
    scenario.slack.next_answers += answers
    scenario.run("later")

    wait_for_alert(scenario.slack, "later")
    assert [request.answer for request in scenario.slack.received] == [*answers, OK]
    assert len(scenario.end_and_read_texts()) == 1


def test_retry_after_is_respected(scenario: Scenario) -> None:
    scenario.slack.next_answers += [Answer(429, "rate_limited", {"Retry-After": "1.2"})]
    scenario.run("slowly")

    wait_for_alert(scenario.slack, "slowly")
    first, second = scenario.slack.received
    assert 1.2 <= second.at - first.at < 4
    assert len(scenario.end_and_read_texts()) == 1


@pytest.mark.parametrize("error", ["invalid_blocks", "invalid_payload", "invalid_attachments"])
def test_message_slack_cannot_read_is_sent_as_text(error: str, scenario: Scenario) -> None:
    scenario.slack.next_answers += [Answer(400, error)]
    scenario.run("simpler")

    alert = wait_for_alert(scenario.slack, "simpler")
    assert alert_outcome(alert) == "finished"
    assert set(alert) == {"text"}
    assert {"text", "blocks", "attachments"} <= set(scenario.slack.received[0].payload)
    assert len(scenario.end_and_read_texts()) == 1


@dataclass(frozen=True)
class Rejection:
    """Answers after which a retry cannot help, and the reason the user sees."""

    answers: list[Answer]
    reason: str


REJECTIONS = {
    "removed": Rejection([WEBHOOK_REMOVED], "404 no_service: this webhook was removed; make a new one at"),
    "archived": Rejection([Answer(410, "channel_is_archived")], "410 channel_is_archived: the webhook's channel is"),
    "forbidden": Rejection([Answer(403, "action_prohibited")], "403 action_prohibited: the workspace does not let"),
    "not even the text": Rejection(
        [Answer(400, "invalid_blocks"), Answer(400, "no_text")], "400 no_text: Slack rejected the message"
    ),
}


@pytest.mark.parametrize("rejection", REJECTIONS.values(), ids=REJECTIONS)
def test_undeliverable_alert_is_listed_and_can_be_resent(rejection: Rejection, scenario: Scenario) -> None:
    scenario.slack.next_answers += rejection.answers
    scenario.run("unwanted")
    until(lambda: scenario.world.outbox_messages("dead"), 10, "giving up")
    listing = scenario.outbox("list")
    sent = scenario.outbox("retry", listing.split()[0])

    assert "dead" in listing
    assert "unwanted finished in" in listing
    assert rejection.reason in listing
    assert "1 sent again" in sent
    assert alert_outcome(wait_for_alert(scenario.slack, "unwanted")) == "finished"
    assert scenario.outbox("list") == "No pending or dead alerts.\n"
    assert len(scenario.slack.received) == len(rejection.answers) + 1
    assert scenario.slack.canary not in listing + sent


def test_undeliverable_alert_can_be_removed(scenario: Scenario) -> None:
    scenario.slack.next_answers += [WEBHOOK_REMOVED]
    scenario.run("unwanted")
    until(lambda: scenario.world.outbox_messages("dead"), 10, "giving up")

    assert scenario.outbox("purge", "--all") == "1 deleted.\n"
    assert scenario.outbox("list") == "No pending or dead alerts.\n"
    assert scenario.end_and_read_texts() == []


def test_waiting_alerts_of_two_kernels_arrive_once(scenario: Scenario) -> None:
    scenario.slack.refuse_connections()
    with Kernel(scenario.world) as other:
        other.run("%load_ext cwnotify")
        for number in range(3):
            scenario.run(f"mine{number}")
            other.run(f"%%notify_on_finish theirs{number}\n1")
        scenario.wait_for_failed_attempt("mine0")
        other.kill()
        scenario.slack.accept_connections()
        texts = scenario.end_and_read_texts()

    names = [f"{whose}{number}" for whose in ("mine", "theirs") for number in range(3)]
    assert sorted(text.split("*")[1] for text in texts) == names


def test_alert_of_kernel_that_ended_during_outage_arrives_later(scenario: Scenario) -> None:
    scenario.slack.refuse_connections()
    scenario.run("orphan")
    scenario.kernel.shut_down()
    scenario.wait_for_failed_attempt("orphan")
    scenario.slack.accept_connections()

    assert alert_outcome(wait_for_alert(scenario.slack, "orphan", 20)) == "finished"
    scenario.world.wait_for_sidecars_to_exit()
    assert len(scenario.slack.delivered) == 1


# The sidecar is killed


def wait_for_sidecar(world: World, other_than: int = 0) -> int:
    """Wait until there is one sidecar, and return its pid."""
    (pid,) = until(lambda: [pid for pid in world.sidecar_ids() if pid != other_than], 15, "a sidecar")
    return pid


def test_sidecar_killed_during_run_is_replaced(scenario: Scenario) -> None:
    go = scenario.world.home / "go"
    cell = scenario.kernel.submit_cell(
        "%%notify_on_finish longer\nprint('begun', flush=True)\nimport os, time\n"
        f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\n'went on'"
    )
    cell.wait_for_output("begun")
    first = wait_for_sidecar(scenario.world)
    until(lambda: scenario.world.open_runs(), 10, "the run on disk")
    os.kill(first, signal.SIGKILL)
    wait_for_sidecar(scenario.world, other_than=first)
    go.touch()

    assert cell.result().values == ["'went on'"]
    assert alert_outcome(wait_for_alert(scenario.slack, "longer")) == "finished"
    assert len(scenario.end_and_read_texts()) == 1


def test_second_sidecar_reports_killed_kernel(scenario: Scenario) -> None:
    cell = scenario.kernel.submit_cell(f"%%notify_on_finish unlucky\n{LONG_RUNNING_CODE}")
    cell.wait_for_output("begun")
    first = wait_for_sidecar(scenario.world)
    os.kill(first, signal.SIGKILL)
    until(
        lambda: scenario.world.open_runs() and scenario.world.sidecar_ids() not in ([], [first]), 15, "a second sidecar"
    )

    (text,) = scenario.end_and_read_texts()
    assert "*unlucky* was lost" in text
    assert "SIGKILL" in text


def test_next_sidecar_sends_waiting_alerts_without_new_run(scenario: Scenario) -> None:
    scenario.slack.refuse_connections()
    scenario.run("early")
    scenario.wait_for_failed_attempt("early")
    first = wait_for_sidecar(scenario.world)
    os.kill(first, signal.SIGKILL)
    wait_for_sidecar(scenario.world, other_than=first)
    scenario.slack.accept_connections()

    wait_for_alert(scenario.slack, "early")
    assert len(scenario.end_and_read_texts()) == 1


def test_attempt_of_killed_sidecar_is_left_to_next(scenario: Scenario) -> None:
    scenario.slack.next_answers += [Answer(mode="hang")]
    scenario.run("early")
    until(lambda: scenario.slack.received, 10, "an attempt")
    os.kill(wait_for_sidecar(scenario.world), signal.SIGKILL)

    # At once, and not after the dead sidecar's lease of two minutes.
    wait_for_alert(scenario.slack, "early")
    assert len(scenario.end_and_read_texts()) == 1


def test_next_start_reports_loss_of_kernel_and_sidecar(scenario: Scenario) -> None:
    cell = scenario.kernel.submit_cell(f"%%notify_on_finish forgotten\n{LONG_RUNNING_CODE}")
    cell.wait_for_output("begun")
    until(lambda: scenario.world.open_runs(), 10, "the run on disk")
    os.kill(wait_for_sidecar(scenario.world), signal.SIGKILL)
    scenario.kernel.kill()
    until(lambda: not scenario.world.process_ids(), 5, "the end of both")
    assert scenario.slack.delivered == []

    with Kernel(scenario.world) as next_kernel:
        next_kernel.run("%load_ext cwnotify")
        next_kernel.run("%%notify_on_finish new\n1")
        wait_for_alert(scenario.slack, "new")
        lost = wait_for_alert(scenario.slack, "forgotten")
        next_kernel.kill()
        scenario.world.wait_for_sidecars_to_exit()

    assert alert_outcome(lost) == "lost"
    assert "It was last seen" in lost["text"]
    assert len(scenario.slack.delivered) == 2


# Missing or unusable settings


def test_notebook_shows_alerts_without_webhook_and_sends_them_later(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        first = kernel.run("%%notify_on_finish unheard\n40 + 2")
        second = kernel.run("%%notify_on_finish again\n1 / 0")
        until(lambda: len(world.outbox_messages("dead")) == 2, 10, "the outbox")
        sent = world.execute("cwnotify", "outbox", "retry", "--all", env={"CWNOTIFY_WEBHOOK_URL": slack.url})

        assert first.values == ["42"]
        assert "%cwnotify login" in first.stderr
        assert "not sent: ✅ unheard finished in" in first.stdout
        assert "%cwnotify login" not in second.stderr
        assert "not sent: ❌ again failed after" in second.stdout
        assert sent.stdout.endswith("2 sent again.\n")
        assert [alert_outcome(payload) for payload in slack.wait_for(2)] == ["finished", "failed"]


def test_unusable_state_directory_delays_no_alert(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        world.state_dir.write_text("a file where the directory should be")
        kernel.run("%load_ext cwnotify")
        kernel.run("%%notify_on_finish stateless\n1")

        assert alert_outcome(wait_for_alert(slack, "stateless")) == "finished"


def test_kernel_keeps_the_webhook_it_read_first(tmp_path: Path) -> None:
    """A cell may rewrite the webhook's file. The kernel's alerts still go to the first webhook."""
    with Slack() as slack, Slack() as other, World(tmp_path) as world, ExitStack() as kernels:
        other.refuse_connections()
        for name, destination in (("first", slack), ("second", other), ("third", slack)):
            store_webhook(Secret(destination.url), world.environ)
            kernel = kernels.enter_context(Kernel(world))
            kernel.run("%load_ext cwnotify")
            scenario = Scenario(destination, world, kernel)
            scenario.run(name)
            if destination is other:
                scenario.wait_for_failed_attempt(name)
                store_webhook(Secret(slack.url), world.environ)
                scenario.run("still second")
        other.accept_connections()

        wait_for_alert(other, "second")
        wait_for_alert(other, "still second")
        assert [payload["text"].split("*")[1] for payload in slack.wait_for(2)] == ["first", "third"]
        assert len(other.delivered) == 2


@pytest.mark.parametrize("name", SLOW_ANSWERS)
def test_alert_is_sent_once_however_long_that_takes(name: str, slow_scenarios: dict[str, Scenario]) -> None:
    scenario = slow_scenarios[name]

    assert alert_outcome(wait_for_alert(scenario.slack, "first", 45)) == "finished"
    assert [request.answer for request in scenario.slack.received] == [SLOW_ANSWERS[name], OK]
    assert len(scenario.end_and_read_texts()) == 1
