"""Slack is away, slow, wrong or gone, or the sidecar is killed: no cell waits, and each alert arrives exactly once."""

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
class Scene:
    """A Slack, a world whose webhook it is, and a kernel in it with cwnotify loaded."""

    slack: Slack
    world: World
    kernel: Kernel

    def run(self, name: str, body: str = "1") -> None:
        """Run a registered cell."""
        assert self.kernel.run(f"%%notify_on_finish {name}\n{body}").status == "ok"

    def outbox(self, *words: str) -> str:
        """What ``cwnotify outbox`` says, in good order."""
        result = self.world.execute("cwnotify", "outbox", *words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def tried(self, name: str) -> str:
        """Wait for the first attempt to deliver to fail; gives the reason that was noted."""

        def reason() -> str:
            return next(
                (m.reason for m in self.world.outbox_messages("pending", "dead") if f"*{name}*" in str(m.payload)), ""
            )

        return until(reason, 15, "an attempt that fails")

    def everything_told(self) -> list[str]:
        """End the kernel, wait until the sidecar has left, and give the texts that were delivered."""
        self.kernel.kill()
        self.world.wait_for_sidecars_to_exit()
        return [payload["text"] for payload in self.slack.payloads]


@contextmanager
def begin(folder: Path) -> Iterator[Scene]:
    with Slack() as slack, World(folder, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        yield Scene(slack, world, kernel)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with begin(tmp_path) as one:
        yield one


# Troubles after which the sidecar lets some time go by before it asks again.
SLOW_ANSWERS = {
    "hanging": Answer(mode="hang"),
    "login page": LOGIN_PAGE,
    "redirect": REDIRECT,
    "nearly ok": Answer(200, "OK"),
}


@pytest.fixture(scope="module", autouse=True)
def slow_scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scene]]:
    """Begun before this module's other tests, and looked at after them: the time goes by meanwhile."""
    with ExitStack() as stack:
        scenes = {}
        for name, answer in SLOW_ANSWERS.items():
            scenes[name] = one = stack.enter_context(begin(tmp_path_factory.mktemp("patient")))
            one.slack.next_answers.append(answer)
            one.run("first")
        yield scenes


def test_hanging_slack_delays_no_cell(scene: Scene) -> None:
    scene.slack.next_answers += [Answer(mode="hang")] * 9
    scene.run("first")
    until(lambda: len(scene.slack.received) == 1, 10, "the first request")

    for name in ("second", "third"):
        scene.run(name, "'no matter what'")
    failed, aborted = scene.kernel.run_all("%%notify_on_finish fourth\n1 / 0", "1")

    assert (failed.status, aborted.status) == ("error", "aborted")
    # The first request still hangs: no cell waited for its end.
    assert len(scene.slack.received) == 1
    until(lambda: len(scene.world.outbox_messages("pending")) == 4, 15, "every alert on disk")


def test_refused_connections_delay_no_cell(scene: Scene) -> None:
    scene.slack.refuse_connections()
    scene.run("away")
    assert "the connection was refused" in scene.tried("away")
    scene.slack.accept_connections()

    wait_for_alert(scene.slack, "away")
    assert len(scene.everything_told()) == 1


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
def test_alert_arrives_once_slack_recovers(answers: list[Answer], scene: Scene) -> None:
    scene.slack.next_answers += answers
    scene.run("later")

    wait_for_alert(scene.slack, "later")
    assert [one.answer for one in scene.slack.received] == [*answers, OK]
    assert len(scene.everything_told()) == 1


def test_retry_after_is_respected(scene: Scene) -> None:
    scene.slack.next_answers += [Answer(429, "rate_limited", {"Retry-After": "1.2"})]
    scene.run("slowly")

    wait_for_alert(scene.slack, "slowly")
    first, second = scene.slack.received
    assert 1.2 <= second.at - first.at < 4
    assert len(scene.everything_told()) == 1


@pytest.mark.parametrize("word", ["invalid_blocks", "invalid_payload", "invalid_attachments"])
def test_message_slack_cannot_read_is_sent_as_text(word: str, scene: Scene) -> None:
    scene.slack.next_answers += [Answer(400, word)]
    scene.run("simpler")

    alert = wait_for_alert(scene.slack, "simpler")
    assert alert_outcome(alert) == "finished"
    assert set(alert) == {"text"}
    assert {"text", "blocks", "attachments"} <= set(scene.slack.received[0].payload)
    assert len(scene.everything_told()) == 1


@dataclass(frozen=True)
class Rejection:
    """Answers after which no further attempt can help, and what the user is told of it."""

    answers: list[Answer]
    reason: str


REJECTIONS = {
    "removed": Rejection([WEBHOOK_REMOVED], "404 no_service: this webhook was removed; make a new one at"),
    "archived": Rejection([Answer(410, "channel_is_archived")], "410 channel_is_archived: the webhook's channel is"),
    "forbidden": Rejection([Answer(403, "action_prohibited")], "403 action_prohibited: the workspace does not let"),
    "not even the text": Rejection(
        [Answer(400, "invalid_blocks"), Answer(400, "no_text")], "400 no_text: Slack refused"
    ),
}


@pytest.mark.parametrize("refusal", REJECTIONS.values(), ids=REJECTIONS)
def test_undeliverable_alert_is_listed_and_can_be_resent(rejection: Rejection, scene: Scene) -> None:
    scene.slack.next_answers += rejection.answers
    scene.run("unwanted")
    until(lambda: scene.world.outbox_messages("dead"), 10, "giving up")
    listed = scene.outbox("list")
    sent = scene.outbox("retry", listed.split()[0])

    assert "dead" in listed
    assert "unwanted finished in" in listed
    assert rejection.reason in listed
    assert "1 sent again" in sent
    assert alert_outcome(wait_for_alert(scene.slack, "unwanted")) == "finished"
    assert scene.outbox("list") == "Nothing waits and nothing is dead.\n"
    assert len(scene.slack.received) == len(rejection.answers) + 1
    assert scene.slack.canary not in listed + sent


def test_undeliverable_alert_can_be_removed(scene: Scene) -> None:
    scene.slack.next_answers += [WEBHOOK_REMOVED]
    scene.run("unwanted")
    until(lambda: scene.world.outbox_messages("dead"), 10, "giving up")

    assert scene.outbox("purge", "--all") == "1 thrown away.\n"
    assert scene.outbox("list") == "Nothing waits and nothing is dead.\n"
    assert scene.everything_told() == []


def test_waiting_alerts_of_two_kernels_arrive_once(scene: Scene) -> None:
    scene.slack.refuse_connections()
    with Kernel(scene.world) as other:
        other.run("%load_ext cwnotify")
        for number in range(3):
            scene.run(f"mine{number}")
            other.run(f"%%notify_on_finish theirs{number}\n1")
        scene.tried("mine0")
        other.kill()
        scene.slack.accept_connections()
        texts = scene.everything_told()

    names = [f"{whose}{number}" for whose in ("mine", "theirs") for number in range(3)]
    assert sorted(text.split("*")[1] for text in texts) == names


def test_alert_of_kernel_that_ended_during_outage_arrives_later(scene: Scene) -> None:
    scene.slack.refuse_connections()
    scene.run("orphan")
    scene.kernel.shut_down()
    scene.tried("orphan")
    scene.slack.accept_connections()

    assert alert_outcome(wait_for_alert(scene.slack, "orphan", 20)) == "finished"
    scene.world.wait_for_sidecars_to_exit()
    assert len(scene.slack.delivered) == 1


# The sidecar is killed


def the_sidecar(world: World, other_than: int = 0) -> int:
    """Wait for the sidecar."""
    (pid,) = until(lambda: [pid for pid in world.sidecar_ids() if pid != other_than], 15, "a sidecar")
    return pid


def test_sidecar_killed_during_run_is_replaced(scene: Scene) -> None:
    go = scene.world.home / "go"
    cell = scene.kernel.submit_cell(
        "%%notify_on_finish longer\nprint('begun', flush=True)\nimport os, time\n"
        f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\n'went on'"
    )
    cell.wait_for_output("begun")
    first = the_sidecar(scene.world)
    until(lambda: scene.world.open_runs(), 10, "the run on disk")
    os.kill(first, signal.SIGKILL)
    the_sidecar(scene.world, other_than=first)
    go.touch()

    assert cell.result().values == ["'went on'"]
    assert alert_outcome(wait_for_alert(scene.slack, "longer")) == "finished"
    assert len(scene.everything_told()) == 1


def test_second_sidecar_reports_killed_kernel(scene: Scene) -> None:
    cell = scene.kernel.submit_cell(f"%%notify_on_finish unlucky\n{LONG_RUNNING_CODE}")
    cell.wait_for_output("begun")
    first = the_sidecar(scene.world)
    os.kill(first, signal.SIGKILL)
    until(lambda: scene.world.open_runs() and scene.world.sidecar_ids() not in ([], [first]), 15, "a second sidecar")

    (text,) = scene.everything_told()
    assert "*unlucky* was lost" in text
    assert "SIGKILL" in text


def test_next_sidecar_sends_waiting_alerts_without_new_run(scene: Scene) -> None:
    scene.slack.refuse_connections()
    scene.run("early")
    scene.tried("early")
    first = the_sidecar(scene.world)
    os.kill(first, signal.SIGKILL)
    the_sidecar(scene.world, other_than=first)
    scene.slack.accept_connections()

    wait_for_alert(scene.slack, "early")
    assert len(scene.everything_told()) == 1


def test_attempt_of_killed_sidecar_is_left_to_next(scene: Scene) -> None:
    scene.slack.next_answers += [Answer(mode="hang")]
    scene.run("early")
    until(lambda: scene.slack.received, 10, "an attempt")
    os.kill(the_sidecar(scene.world), signal.SIGKILL)

    # Not after the dead sidecar's lease of two minutes, but at once.
    wait_for_alert(scene.slack, "early")
    assert len(scene.everything_told()) == 1


def test_next_start_reports_loss_of_kernel_and_sidecar(scene: Scene) -> None:
    cell = scene.kernel.submit_cell(f"%%notify_on_finish forgotten\n{LONG_RUNNING_CODE}")
    cell.wait_for_output("begun")
    until(lambda: scene.world.open_runs(), 10, "the run on disk")
    os.kill(the_sidecar(scene.world), signal.SIGKILL)
    scene.kernel.kill()
    until(lambda: not scene.world.process_ids(), 5, "the end of both")
    assert scene.slack.delivered == []

    with Kernel(scene.world) as next_one:
        next_one.run("%load_ext cwnotify")
        next_one.run("%%notify_on_finish new\n1")
        wait_for_alert(scene.slack, "new")
        lost = wait_for_alert(scene.slack, "forgotten")
        next_one.kill()
        scene.world.wait_for_sidecars_to_exit()

    assert alert_outcome(lost) == "lost"
    assert "It was last seen" in lost["text"]
    assert len(scene.slack.delivered) == 2


# Settings that stand in the way


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
    """A cell may rewrite the webhook's file; alerts still go where they went before."""
    with Slack() as slack, Slack() as other, World(tmp_path) as world, ExitStack() as kernels:
        other.refuse_connections()
        for name, place in (("one", slack), ("two", other), ("three", slack)):
            store_webhook(Secret(place.url), world.environ)
            kernel = kernels.enter_context(Kernel(world))
            kernel.run("%load_ext cwnotify")
            scene = Scene(place, world, kernel)
            scene.run(name)
            if place is other:
                scene.tried(name)
                store_webhook(Secret(slack.url), world.environ)
                scene.run("still two")
        other.accept_connections()

        wait_for_alert(other, "two")
        wait_for_alert(other, "still two")
        assert [payload["text"].split("*")[1] for payload in slack.wait_for(2)] == ["one", "three"]
        assert len(other.delivered) == 2


@pytest.mark.parametrize("trouble", SLOW_ANSWERS)
def test_alert_is_sent_once_however_long_that_takes(name: str, slow_scenes: dict[str, Scene]) -> None:
    scene = slow_scenes[name]

    assert alert_outcome(wait_for_alert(scene.slack, "first", 45)) == "finished"
    assert [one.answer for one in scene.slack.received] == [SLOW_ANSWERS[name], OK]
    assert len(scene.everything_told()) == 1
