"""Records: an event as JSON and back, also between versions that differ."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings

from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.events.runs import LossCause, Outcome, Run, RunKind, RunLocation, RunLoss, RunResult
from cwnotify.alerts.serialization import from_json_dict, to_json_dict
from tests.support.events import any_run_ended, any_text


def sent(value: object) -> dict:
    """A record as it comes out of a pipe or a database."""
    return json.loads(json.dumps(to_json_dict(value)))


@settings(max_examples=50)
@given(any_run_ended(any_text(max_size=20, surrogates=False)))
def test_any_event_comes_back_as_it_was(ended):
    assert from_json_dict(RunResult, sent(ended)) == ended


def test_what_comes_back_has_the_types_it_had():
    run = Run("1", "a", 5.0, RunKind.CODE, RunLocation(cell=3), RunOptions(show=("x",)))
    ended = RunResult(run, Outcome.LOST, 1.0, 6.0, loss=RunLoss(LossCause.EXIT, code=3), cpu=(1.0,))

    back = from_json_dict(RunResult, sent(ended))

    assert back == ended
    assert (back.run.kind, back.outcome, back.loss.cause) == (RunKind.CODE, Outcome.LOST, LossCause.EXIT)
    assert [type(one) for one in (back.run.kind, back.outcome, back.loss.cause)] == [RunKind, Outcome, LossCause]
    assert isinstance(back.run.options.show, tuple)
    assert isinstance(back.cpu, tuple)


def test_what_a_newer_writer_says_beside_is_passed_over():
    record = sent(Run("1", "a", 5.0)) | {"mood": "good"}
    record["place"]["rack"] = 7

    assert from_json_dict(Run, record) == Run("1", "a", 5.0)


def test_what_an_older_writer_did_not_say_is_at_its_default():
    assert from_json_dict(Run, {"id": "1", "name": "a", "started": 5}) == Run("1", "a", 5.0)
    assert from_json_dict(Run, {"id": "1", "name": "a", "started": 5, "place": {}}) == Run("1", "a", 5.0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": None}, r"Run\.id"),
        ({"id": 3}, r"Run\.id"),
        ({"started": "now"}, r"Run\.started"),
        ({"started": True}, r"Run\.started"),
        ({"started": 10**400}, r"Run\.started"),
        ({"kind": "dream"}, r"Run\.kind"),
        ({"kind": []}, r"Run\.kind"),
        ({"place": "home"}, "Place"),
        ({"place": {"cell": True}}, r"Place\.cell"),
        ({"place": {"cell": 1.5}}, r"Place\.cell"),
        ({"options": {"show": "loss"}}, r"RunOptions\.show"),
        ({"options": {"show": [1]}}, r"RunOptions\.show"),
        ({"options": {"together": 1}}, r"RunOptions\.together"),
    ],
)
def test_what_cannot_be_read_is_named(change, field):
    with pytest.raises(ValueError, match=field):
        from_json_dict(Run, sent(Run("1", "a", 5.0)) | change)


@pytest.mark.parametrize("record", [None, [], "x", 3])
def test_what_is_no_mapping_is_no_record(record):
    with pytest.raises(ValueError, match="Run is no mapping"):
        from_json_dict(Run, record)


def test_what_has_no_default_must_be_there():
    with pytest.raises(ValueError, match=r"Run\.name is missing"):
        from_json_dict(Run, {"id": "1", "started": 5.0})


@dataclass(frozen=True)
class Later:
    """A class as a later version could have it."""

    points: tuple[RunLoss, ...] = ()
    maybe: RunLoss | None = None
    names: tuple[str, ...] = field(default_factory=tuple)


def test_nested_events_come_back_too():
    one = Later((RunLoss(LossCause.EXIT), RunLoss(LossCause.SIGNAL, "SIGKILL")), RunLoss(LossCause.REBOOT), ("a",))

    assert from_json_dict(Later, sent(one)) == one
    assert from_json_dict(Later, sent(Later())) == Later()
