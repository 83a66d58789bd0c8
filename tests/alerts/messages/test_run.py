"""Messages about runs: golden files, and properties that hold for any run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

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
LOAD_SAMPLE = LoadSample(NOON + 8040.0, 97.4, 15_900_000_000, 17_179_869_184)
DURATION = 2 * 3600 + 14 * 60.0  # seconds
OUTCOME_WORDS = re.compile(r"\b(?:finished|failed|interrupted|lost)\b", re.IGNORECASE)


def result_of(
    outcome: Outcome = Outcome.FINISHED, seconds: float = DURATION, name: str = "resnet50", **fields: Any
) -> RunResult:
    """Return the result of cell 12, started at noon."""
    run = Run("7f3a", name, NOON, place=PLACE, options=RunOptions(zone="Asia/Seoul"))
    return RunResult(run, outcome, seconds, NOON + seconds, **fields)


def lost(cause: LossCause, signal: str = "", code: int | None = None, **fields: Any) -> RunResult:
    return result_of(Outcome.LOST, loss=RunLoss(cause, signal, code, **fields), vitals=LOAD_SAMPLE)


FAILED = result_of(
    Outcome.FAILED,
    192.4,
    failure=RunFailure(
        "OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "In [12], line 4, in <module>\n    train(model)\nloop.py, line 88, in train\n    loss.backward()",
    ),
)
COMMAND = replace(result_of().run, name="python train.py", kind=RunKind.COMMAND, place=RunLocation(host="train-3"))

MESSAGES = {
    "finished": result_of(
        cpu=(5.0, 40.0, 96.0, 97.0, 99.0, 98.0, 97.0, 20.0),
        shown=(
            CapturedValue("loss", "0.0312"),
            CapturedValue("model.name", "resnet50 <b>"),
            CapturedValue("acc", error="NameError"),
        ),
    ),
    "finished with many values and a tail": result_of(
        seconds=4.2,
        shown=tuple(CapturedValue(f"x{number}", f"{number * 1.5}") for number in range(7)),
        tail="epoch 9 loss 0.04\nepoch 10 loss 0.03",
    ),
    "finished with too many values": result_of(
        shown=tuple(CapturedValue(f"x{number}", "<long>" * 80) for number in range(50)), values_left_out=2450
    ),
    "finished with a failed command": result_of(command=FailedCommand("python train.py", 1)),
    "finished with a killed command": result_of(
        seconds=9.0, command=FailedCommand("python train.py", signal="SIGKILL")
    ),
    "failed": FAILED,
    "failed at once": replace(FAILED, seconds=0.02, ended=NOON + 0.02),
    "failed command": replace(result_of(Outcome.FAILED, 70.0, failure=RunFailure("exit code 3")), run=COMMAND),
    "interrupted": result_of(Outcome.INTERRUPTED, 75.0),
    "lost out of memory": lost(LossCause.OUT_OF_MEMORY, "SIGKILL", oom_kills=1),
    "lost to a signal": lost(LossCause.SIGNAL, "SIGKILL"),
    "lost in a crash": lost(LossCause.SIGNAL, "SIGSEGV"),
    "lost by an exit": lost(LossCause.EXIT, code=3),
    "lost in a shutdown": lost(LossCause.SHUTDOWN),
    "lost in a reboot": replace(lost(LossCause.REBOOT, found_later=True), vitals=LOAD_SAMPLE),
    "lost without explanation": replace(lost(LossCause.UNKNOWN), vitals=None),
    "lost detected later": replace(
        lost(LossCause.UNKNOWN, found_later=True), seconds=20.0, ended=NOON + 20, vitals=None
    ),
    "lost command": replace(lost(LossCause.OUT_OF_MEMORY, "SIGKILL", oom_kills=2), run=COMMAND),
}
LOAD = result_of(seconds=12.0, name="load <data>")
TRAIN = replace(result_of(), ended=NOON + 12 + DURATION)
SAVE = replace(result_of(seconds=3.0, name=""), ended=NOON + 15 + DURATION)
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


def in_language(result: RunResult, lang: str) -> RunResult:
    return replace(result, run=replace(result.run, options=replace(result.run.options, lang=lang)))


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", [*MESSAGES, *TOGETHER, *WAITING, "hello"])
def test_message_matches_golden_file(name: str, lang: str) -> None:
    if name in MESSAGES:
        payload = run_message(in_language(MESSAGES[name], lang))
    elif name in TOGETHER:
        payload = combined_runs_message([in_language(result, lang) for result in TOGETHER[name]])
    elif name in WAITING:
        payload = run_waiting_message(in_language(result_of(), lang).run, *WAITING[name], NOON + 192.4)
    else:
        payload = webhook_test_message("train-3", lang)

    assert_valid_payload(payload)
    path = DATA_DIR / "messages" / f"{name.replace(' ', '-')}.{lang}.json"
    assert_golden(path, json.dumps(payload, ensure_ascii=False, indent=2) + "\n")


def test_every_loss_cause_has_golden_file() -> None:
    assert {result.loss.cause for result in MESSAGES.values() if result.loss} == set(LossCause)


@settings(max_examples=60)
@given(any_run_ended(any_text()))
def test_run_message_is_valid_and_only_its_mention_pings(result: RunResult) -> None:
    mention = result.run.options.mention
    payload = run_message(result)

    assert_valid_payload(payload, (mention,) if mention else ())
    assert_no_other_markup(payload, mention)
    finished = b.COLOR_WARNING if result.command else b.COLOR_GOOD
    color = {Outcome.FINISHED: finished, Outcome.INTERRUPTED: b.COLOR_NEUTRAL}.get(result.outcome, b.COLOR_BAD)
    assert [attachment["color"] for attachment in payload["attachments"]] == [color]


@settings(max_examples=25)
@given(st.lists(any_run_ended(any_text()), min_size=1, max_size=3), st.sampled_from((1, 40)))
def test_combined_message_is_valid_and_only_its_mention_pings(results: list[RunResult], times: int) -> None:
    mention = results[-1].run.options.mention
    payload = combined_runs_message(results * times)

    assert_valid_payload(payload, (mention,) if mention else ())
    assert_no_other_markup(payload, mention)


def assert_no_other_markup(payload: b.Payload, mention: str) -> None:
    """Assert that the first line and the notification end with the mention, and no other text has markup."""
    first = payload["blocks"][0]["text"]["text"]
    assert first == payload["text"]
    assert first.endswith(mention)
    for text in slack_rules.payload_texts(payload):
        assert_escaped(text.removesuffix(mention) if text == first else text)


@settings(max_examples=25)
@given(any_run_ended(any_text()), st.sampled_from(WaitReason), st.booleans())
def test_waiting_message_is_valid_and_only_its_mention_pings(
    result: RunResult, wait: WaitReason, in_notebook: bool
) -> None:
    mention = result.run.options.mention
    payload = run_waiting_message(result.run, wait, in_notebook, result.ended)

    assert_valid_payload(payload, (mention,) if mention else ())
    assert_no_other_markup(payload, mention)


@given(any_text().filter(lambda text: not OUTCOME_WORDS.search(text)), st.sampled_from(WaitReason), st.booleans())
def test_waiting_message_has_no_outcome_word(name: str, wait: WaitReason, in_notebook: bool) -> None:
    assert not OUTCOME_WORDS.search(run_waiting_message(result_of(name=name).run, wait, in_notebook, NOON)["text"])


TEXT_WITHOUT_OUTCOME = any_text().filter(lambda text: not OUTCOME_WORDS.search(text))
LOSSES = [result.loss for result in MESSAGES.values() if result.loss]


@given(
    TEXT_WITHOUT_OUTCOME,
    TEXT_WITHOUT_OUTCOME,
    st.sampled_from(Outcome),
    st.sampled_from(LOSSES),
    st.sampled_from(RunKind),
    st.floats(0, 1e8),
)
def test_english_headline_has_exactly_one_outcome_word(
    name: str, error: str, outcome: Outcome, loss: RunLoss, kind: RunKind, seconds: float
) -> None:
    result = result_of(outcome, seconds, name, failure=RunFailure(error), loss=loss)
    result = replace(result, run=replace(result.run, kind=kind))
    headline = run_headline(result)
    with_failed_command = run_headline(replace(result, command=FailedCommand(error, 1, loss.signal)))

    assert OUTCOME_WORDS.findall(headline) == [outcome]
    assert OUTCOME_WORDS.findall(with_failed_command) == [outcome]


@given(any_text())
def test_headline_names_run_or_its_cell(name: str) -> None:
    assert (b.bold(name) or "*Cell [12]*") in run_headline(result_of(name=name))


def test_headline_without_name_and_cell_number() -> None:
    assert "*A cell*" in run_headline(replace(result_of(), run=Run("7f3a", " ", NOON)))


@pytest.mark.parametrize("name", [piece for piece in HOSTILE_FRAGMENTS if piece.strip()], ids=ascii)
def test_name_in_combined_message_cannot_ping_or_format(name: str) -> None:
    payload = combined_runs_message([result_of(name=name), result_of(name="last")])
    listed = payload["attachments"][0]["blocks"][0]["text"]["text"]

    assert_no_other_markup(payload, "")
    assert listed.count("\n") == 1


@pytest.mark.parametrize("count", [2, 10, 11, 35])
def test_combined_message_lists_every_run_in_order(count: int) -> None:
    payload = combined_runs_message([result_of(name=f"run {number}") for number in range(count)])
    listed = "\n".join(block["text"]["text"] for block in payload["attachments"][0]["blocks"])

    assert re.findall(r"run (\d+) ·", listed) == [str(number) for number in range(count)]


def test_combined_message_with_many_long_names_is_valid() -> None:
    assert_valid_payload(combined_runs_message([result_of(name="&" * 300)] * 250))


def test_signal_name_cannot_ping() -> None:
    assert_no_other_markup(run_message(lost(LossCause.SIGNAL, "<!channel>")), "")


@pytest.mark.parametrize("mention", MENTIONS[1:])
def test_mention_ends_notification_and_first_line(mention: str) -> None:
    run = replace(result_of().run, options=RunOptions(mention=mention))
    for payload in (
        run_message(replace(result_of(), run=run)),
        combined_runs_message([result_of(), replace(result_of(), run=run)]),
    ):
        assert payload["text"].endswith(f" {mention}")
        assert payload["blocks"][0]["text"]["text"].endswith(f" {mention}")


def test_channel_is_sent_only_if_configured() -> None:
    run = replace(result_of().run, options=RunOptions(channel="#ml"))

    assert "channel" not in run_message(result_of())
    assert run_message(replace(result_of(), run=run))["channel"] == "#ml"
    assert combined_runs_message([result_of(), replace(result_of(), run=run)])["channel"] == "#ml"


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
def test_location_line_shows_known_parts(place: RunLocation, line: str) -> None:
    assert run_location_line(place) == line


def test_combined_message_of_one_run_equals_its_own_message() -> None:
    assert combined_runs_message([FAILED]) == run_message(FAILED)


def test_empty_value_is_shown() -> None:
    payload = run_message(result_of(shown=(CapturedValue("note", ""), CapturedValue("loss", "0.5"))))

    cells = [cell["text"] for block in payload["attachments"][0]["blocks"] for cell in block.get("fields", [])]
    assert "*loss*\n0.5" in cells
    assert any(cell.startswith("*note*\n") for cell in cells)


def test_combined_message_reports_failure_before_last_run() -> None:
    payload = combined_runs_message([replace(FAILED, run=replace(FAILED.run, name="load")), result_of(name="train")])

    assert "failed" in payload["text"]
    assert "finished" not in payload["text"]
    assert payload["attachments"][0]["color"] == "#eb4034"
