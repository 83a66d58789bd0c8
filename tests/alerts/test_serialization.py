"""Events as JSON and back, also between different versions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings

from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.events.runs import LossCause, Outcome, Run, RunKind, RunLocation, RunLoss, RunResult
from cwnotify.alerts.serialization import from_json_dict, to_json_dict
from tests.support.events import any_run_ended, any_text


def send(value: object) -> dict[str, Any]:
    """Return a record as a pipe or a database returns it."""
    record: dict[str, Any] = json.loads(json.dumps(to_json_dict(value)))
    return record


@settings(max_examples=50)
@given(any_run_ended(any_text(max_size=20, surrogates=False)))
def test_any_event_is_restored(result: RunResult) -> None:
    assert from_json_dict(RunResult, send(result)) == result


def test_restored_fields_have_their_types() -> None:
    run = Run("1", "a", 5.0, RunKind.CODE, RunLocation(cell=3), RunOptions(show=("x",)))
    result = RunResult(run, Outcome.LOST, 1.0, 6.0, loss=RunLoss(LossCause.EXIT, code=3), cpu=(1.0,))

    restored = from_json_dict(RunResult, send(result))

    assert restored == result
    assert restored.loss is not None
    assert (restored.run.kind, restored.outcome, restored.loss.cause) == (RunKind.CODE, Outcome.LOST, LossCause.EXIT)
    assert [type(member) for member in (restored.run.kind, restored.outcome, restored.loss.cause)] == [
        RunKind,
        Outcome,
        LossCause,
    ]
    assert isinstance(restored.run.options.show, tuple)
    assert isinstance(restored.cpu, tuple)


def test_unknown_keys_of_a_newer_writer_are_ignored() -> None:
    record = send(Run("1", "a", 5.0)) | {"mood": "good"}
    record["place"]["rack"] = 7

    assert from_json_dict(Run, record) == Run("1", "a", 5.0)


def test_missing_keys_of_an_older_writer_take_defaults() -> None:
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
        ({"place": "home"}, "RunLocation"),
        ({"place": {"cell": True}}, r"RunLocation\.cell"),
        ({"place": {"cell": 1.5}}, r"RunLocation\.cell"),
        ({"options": {"show": "loss"}}, r"RunOptions\.show"),
        ({"options": {"show": [1]}}, r"RunOptions\.show"),
        ({"options": {"together": 1}}, r"RunOptions\.together"),
    ],
)
def test_invalid_field_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        from_json_dict(Run, send(Run("1", "a", 5.0)) | change)


@pytest.mark.parametrize("record", [None, [], "x", 3])
def test_record_that_is_not_a_mapping_is_rejected(record: object) -> None:
    with pytest.raises(ValueError, match="Run is not a mapping"):
        from_json_dict(Run, record)


def test_missing_field_without_default_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"Run\.name is missing"):
        from_json_dict(Run, {"id": "1", "started": 5.0})


@dataclass(frozen=True)
class Later:
    """A class that a later version may have."""

    points: tuple[RunLoss, ...] = ()
    maybe: RunLoss | None = None
    names: tuple[str, ...] = field(default_factory=tuple)


def test_nested_events_are_restored() -> None:
    value = Later((RunLoss(LossCause.EXIT), RunLoss(LossCause.SIGNAL, "SIGKILL")), RunLoss(LossCause.REBOOT), ("a",))

    assert from_json_dict(Later, send(value)) == value
    assert from_json_dict(Later, send(Later())) == Later()
