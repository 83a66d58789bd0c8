"""Runs: what Slack says of one, in files that a person can read, and rules that hold for any."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwnotify.alerts.events.run_options import LANGUAGES, RunOptions
from cwnotify.alerts.events.runs import (
    CapturedValue,
    FailedCommand,
    LoadSample,
    LossCause,
    Outcome,
    Run,
    RunFailure,
    RunKind,
    RunLocation,
    RunLoss,
    RunResult,
    WaitReason,
)
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.run import (
    combined_runs_message,
    run_headline,
    run_location_line,
    run_message,
    run_waiting_message,
    webhook_test_message,
)
from tests import slack_rules
from tests.golden import DATA_DIR, assert_golden
from tests.slack_rules import assert_valid_payload
from tests.support.events import HOSTILE_FRAGMENTS, MENTIONS, any_run_ended, any_text
from tests.support.messages import assert_escaped

NOON = 1_795_316_400.0  # 2026-11-22 12:00:00 in Seoul
PLACE = RunLocation("train.ipynb", 12, "train-3", "i-0abc12f9", "g5.xlarge", "ap-northeast-2a")
VITALS = LoadSample(NOON + 8040.0, 97.4, 15_900_000_000, 17_179_869_184)
HOURS = 2 * 3600 + 14 * 60.0
WORDS = re.compile(r"\b(?:finished|failed|interrupted|lost)\b", re.IGNORECASE)


def ended(outcome: Outcome = Outcome.FINISHED, seconds: float = HOURS, name: str = "resnet50", **more) -> RunResult:
    """A run of the notebook's cell 12 that began at noon."""
    run = Run("7f3a", name, NOON, place=PLACE, options=RunOptions(zone="Asia/Seoul"))
    return RunResult(run, outcome, seconds, NOON + seconds, **more)


def lost(cause: LossCause, signal: str = "", code: int | None = None, **more) -> RunResult:
    return ended(Outcome.LOST, loss=RunLoss(cause, signal, code, **more), vitals=VITALS)


FAILED = ended(
    Outcome.FAILED,
    192.4,
    failure=RunFailure(
        "OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "In [12], line 4, in <module>\n    train(model)\nloop.py, line 88, in train\n    loss.backward()",
    ),
)
COMMAND = replace(ended().run, name="python train.py", kind=RunKind.COMMAND, place=RunLocation(host="train-3"))

MESSAGES = {
    "finished": ended(
        cpu=(5.0, 40.0, 96.0, 97.0, 99.0, 98.0, 97.0, 20.0),
        shown=(
            CapturedValue("loss", "0.0312"),
            CapturedValue("model.name", "resnet50 <b>"),
            CapturedValue("acc", error="NameError"),
        ),
    ),
    "finished with many values and a tail": ended(
        seconds=4.2,
        shown=tuple(CapturedValue(f"x{number}", f"{number * 1.5}") for number in range(7)),
        tail="epoch 9 loss 0.04\nepoch 10 loss 0.03",
    ),
    "finished with too many values": ended(
        shown=tuple(CapturedValue(f"x{number}", "<long>" * 80) for number in range(50)), values_left_out=2450
    ),
    "finished with a failed command": ended(command=FailedCommand("python train.py", 1)),
    "finished with a killed command": ended(seconds=9.0, command=FailedCommand("python train.py", signal="SIGKILL")),
    "failed": FAILED,
    "failed at once": replace(FAILED, seconds=0.02, ended=NOON + 0.02),
    "failed command": replace(ended(Outcome.FAILED, 70.0, failure=RunFailure("exit code 3")), run=COMMAND),
    "interrupted": ended(Outcome.INTERRUPTED, 75.0),
    "lost to a want of memory": lost(LossCause.OUT_OF_MEMORY, "SIGKILL", oom_kills=1),
    "lost to a signal": lost(LossCause.SIGNAL, "SIGKILL"),
    "lost in a crash": lost(LossCause.SIGNAL, "SIGSEGV"),
    "lost by an exit": lost(LossCause.EXIT, code=3),
    "lost in a shutdown": lost(LossCause.SHUTDOWN),
    "lost in a reboot": replace(lost(LossCause.REBOOT, found_later=True), vitals=VITALS),
    "lost without a word": replace(lost(LossCause.UNKNOWN), vitals=None),
    "lost and found later": replace(
        lost(LossCause.UNKNOWN, found_later=True), seconds=20.0, ended=NOON + 20, vitals=None
    ),
    "lost command": replace(lost(LossCause.OUT_OF_MEMORY, "SIGKILL", oom_kills=2), run=COMMAND),
}
LOAD = ended(seconds=12.0, name="load <data>")
TRAIN = replace(ended(), ended=NOON + 12 + HOURS)
SAVE = replace(ended(seconds=3.0, name=""), ended=NOON + 15 + HOURS)
TOGETHER = {
    "together finished": (LOAD, TRAIN, SAVE),
    "together with a failed command": (
        LOAD,
        replace(TRAIN, command=FailedCommand("python train.py --lr {lr}", 2)),
        SAVE,
    ),
    "together failed": (LOAD, replace(FAILED, run=replace(FAILED.run, name=""), ended=NOON + 204.4)),
}


WAITING = {
    "waiting in the debugger": (WaitReason.DEBUGGER, True),
    "waiting for input": (WaitReason.INPUT, False),
}


def in_language(one: RunResult, lang: str) -> RunResult:
    return replace(one, run=replace(one.run, options=replace(one.run.options, lang=lang)))


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", [*MESSAGES, *TOGETHER, *WAITING, "hello"])
def test_the_message_is_the_one_in_the_file(name, lang):
    if name in MESSAGES:
        payload = run_message(in_language(MESSAGES[name], lang))
    elif name in TOGETHER:
        payload = combined_runs_message([in_language(one, lang) for one in TOGETHER[name]])
    elif name in WAITING:
        payload = run_waiting_message(in_language(ended(), lang).run, *WAITING[name], NOON + 192.4)
    else:
        payload = webhook_test_message("train-3", lang)

    assert_valid_payload(payload)
    path = DATA_DIR / "messages" / f"{name.replace(' ', '-')}.{lang}.json"
    assert_golden(path, json.dumps(payload, ensure_ascii=False, indent=2) + "\n")


def test_every_cause_of_a_loss_has_a_file():
    assert {one.loss.cause for one in MESSAGES.values() if one.loss} == set(LossCause)


@settings(max_examples=60)
@given(any_run_ended(any_text()))
def test_any_end_of_any_run_is_a_message_that_slack_takes_and_only_its_mention_pings(one):
    mention = one.run.options.mention
    payload = run_message(one)

    assert_valid_payload(payload, (mention,) if mention else ())
    has_no_other_markup(payload, mention)
    good = b.COLOR_WARNING if one.command else b.COLOR_GOOD
    colour = {Outcome.FINISHED: good, Outcome.INTERRUPTED: b.COLOR_NEUTRAL}.get(one.outcome, b.COLOR_BAD)
    assert [attachment["color"] for attachment in payload["attachments"]] == [colour]


@settings(max_examples=25)
@given(st.lists(any_run_ended(any_text()), min_size=1, max_size=3), st.sampled_from((1, 40)))
def test_so_are_any_runs_together(some, times):
    mention = some[-1].run.options.mention
    payload = combined_runs_message(some * times)

    assert_valid_payload(payload, (mention,) if mention else ())
    has_no_other_markup(payload, mention)


def has_no_other_markup(payload: dict, mention: str) -> None:
    """The first text ends with the mention, if there is one, and so does the notification; no other text holds it."""
    first = payload["blocks"][0]["text"]["text"]
    assert first == payload["text"]
    assert first.endswith(mention)
    for text in slack_rules.payload_texts(payload):
        assert_escaped(text.removesuffix(mention) if text == first else text)


@settings(max_examples=25)
@given(any_run_ended(any_text()), st.sampled_from(WaitReason), st.booleans())
def test_so_is_any_run_that_waits(one, wait, in_notebook):
    mention = one.run.options.mention
    payload = run_waiting_message(one.run, wait, in_notebook, one.ended)

    assert_valid_payload(payload, (mention,) if mention else ())
    has_no_other_markup(payload, mention)


@given(any_text().filter(lambda text: not WORDS.search(text)), st.sampled_from(WaitReason), st.booleans())
def test_a_run_that_waits_has_not_ended(name, wait, in_notebook):
    assert not WORDS.search(run_waiting_message(ended(name=name).run, wait, in_notebook, NOON)["text"])


QUIET = any_text().filter(lambda text: not WORDS.search(text))
CAUSES = [one.loss for one in MESSAGES.values() if one.loss]


@given(QUIET, QUIET, st.sampled_from(Outcome), st.sampled_from(CAUSES), st.sampled_from(RunKind), st.floats(0, 1e8))
def test_an_english_sentence_holds_exactly_one_word_for_the_outcome(name, error, outcome, loss, kind, seconds):
    one = ended(outcome, seconds, name, failure=RunFailure(error), loss=loss)
    told = run_headline(replace(one, run=replace(one.run, kind=kind)))
    failed = run_headline(replace(one, command=FailedCommand(error, 1, loss.signal), run=replace(one.run, kind=kind)))

    assert WORDS.findall(told) == [outcome]
    assert WORDS.findall(failed) == [outcome]


@given(any_text())
def test_a_run_is_called_by_its_name_or_else_by_its_cell(name):
    assert (b.bold(name) or "*Cell [12]*") in run_headline(ended(name=name))


def test_a_run_without_name_and_number_is_a_cell():
    assert "*A cell*" in run_headline(replace(ended(), run=Run("7f3a", " ", NOON)))


@pytest.mark.parametrize("name", [piece for piece in HOSTILE_FRAGMENTS if piece.strip()], ids=ascii)
def test_the_name_of_one_among_several_cannot_ping_or_format(name):
    payload = combined_runs_message([ended(name=name), ended(name="last")])
    listed = payload["attachments"][0]["blocks"][0]["text"]["text"]

    has_no_other_markup(payload, "")
    assert listed.count("\n") == 1


@pytest.mark.parametrize("count", [2, 10, 11, 35])
def test_every_one_of_several_runs_is_listed_in_order(count):
    payload = combined_runs_message([ended(name=f"run {number}") for number in range(count)])
    listed = "\n".join(block["text"]["text"] for block in payload["attachments"][0]["blocks"])

    assert re.findall(r"run (\d+) ·", listed) == [str(number) for number in range(count)]


def test_many_runs_with_long_names_are_still_a_message_that_slack_takes():
    assert_valid_payload(combined_runs_message([ended(name="&" * 300)] * 250))


def test_a_signal_of_any_name_cannot_ping():
    has_no_other_markup(run_message(lost(LossCause.SIGNAL, "<!channel>")), "")


@pytest.mark.parametrize("mention", MENTIONS[1:])
def test_a_mention_stands_in_the_notification_and_in_the_message(mention):
    run = replace(ended().run, options=RunOptions(mention=mention))
    for payload in (
        run_message(replace(ended(), run=run)),
        combined_runs_message([ended(), replace(ended(), run=run)]),
    ):
        assert payload["text"].endswith(f" {mention}")
        assert payload["blocks"][0]["text"]["text"].endswith(f" {mention}")


def test_a_channel_is_passed_on_only_where_one_is_asked_for():
    run = replace(ended().run, options=RunOptions(channel="#ml"))

    assert "channel" not in run_message(ended())
    assert run_message(replace(ended(), run=run))["channel"] == "#ml"
    assert combined_runs_message([ended(), replace(ended(), run=run)])["channel"] == "#ml"


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (PLACE, "train.ipynb · In [12] · train-3 (`i-0abc12f9`, g5.xlarge, ap-northeast-2a)"),
        (RunLocation("a.ipynb", 0), "a.ipynb · In [0]"),
        (RunLocation(host="laptop"), "laptop"),
        (RunLocation(instance="i-1"), "`i-1`"),
        (RunLocation(notebook="<x>*.ipynb"), "&lt;x&gt;∗.ipynb"),
        (RunLocation(), ""),
    ],
)
def test_a_place_is_told_as_far_as_it_is_known(place, line):
    assert run_location_line(place) == line


def test_one_run_together_with_no_other_is_told_as_it_would_be_alone():
    assert combined_runs_message([FAILED]) == run_message(FAILED)


def test_what_the_user_asked_to_be_shown_is_shown_also_when_empty():
    payload = run_message(ended(shown=(CapturedValue("note", ""), CapturedValue("loss", "0.5"))))

    cells = [cell["text"] for block in payload["attachments"][0]["blocks"] for cell in block.get("fields", [])]
    assert "*loss*\n0.5" in cells
    assert any(cell.startswith("*note*\n") for cell in cells)


def test_group_with_a_failure_before_its_last_run_reports_the_failure():
    payload = combined_runs_message([replace(FAILED, run=replace(FAILED.run, name="load")), ended(name="train")])

    assert "failed" in payload["text"]
    assert "finished" not in payload["text"]
    assert payload["attachments"][0]["color"] == "#eb4034"
