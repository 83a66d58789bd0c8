"""The arguments of magics: a run keeps its name and its alert, whatever else is invalid."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.events.run_options import RUN_OPTION_SPECS, RunOptions
from cwnotify.errors import UsageError
from cwnotify.notebook.arguments import parse_cell_arguments, parse_notify_all_arguments, parse_statement_arguments


@pytest.mark.parametrize(
    ("line", "name", "options"),
    [
        ("", "", {}),
        ("train", "train", {}),
        ("학습 --min 5분", "학습", {"min_seconds": 300.0}),
        ("'my run' --on error", "my run", {"on": "error"}),
        ("train --min=90s --together", "train", {"min_seconds": 90.0, "together": True}),
        ("train --min 90 s", "train", {"min_seconds": 90.0}),
        ("--min 1h 30m train", "train", {"min_seconds": 5400.0}),
        ("--min 2 hours and 5 minutes train", "train", {"min_seconds": 7500.0}),
        ("--min 5m 2", "2", {"min_seconds": 300.0}),
        ("train --show loss, f(a, b)", "train", {"show": ("loss", "f(a, b)")}),
        ('--show metrics["loss"] --tail 5', "", {"show": ('metrics["loss"]',), "tail": 5}),
        ("--tail 5 -- train", "train", {"tail": 5}),
    ],
)
def test_header_gives_name_and_options(line: str, name: str, options: dict[str, Any]) -> None:
    arguments = parse_cell_arguments(line)

    assert (arguments.name, dict(arguments.options), arguments.problems) == (name, options, ())


@pytest.mark.parametrize(
    ("line", "name", "options", "problem"),
    [
        ("train --mni 5m", "train", {}, "--mni is not an option; did you mean --min?"),
        ("--mni 5m train", "train", {}, "did you mean --min?"),
        ("--mni 5 min train", "train", {}, "did you mean --min?"),
        ("--togther train", "train", {}, "did you mean --together?"),
        ("train --showw loss acc --on error", "train", {"on": "error"}, "did you mean --show?"),
        ("--foo train", "train", {}, "--foo is not an option"),
        ("--foo 5 train", "train", {}, "--foo is not an option"),
        ("train --foo 5 --tail 3", "train", {"tail": 3}, "--foo is not an option"),
        ("--foo=5 train", "train", {}, "--foo is not an option"),
        ("train -m 5m", "train", {}, "-m is not an option"),
        ("train min 5m", "train", {}, "min is not an option; did you mean --min?"),
        ("train min=5m", "train", {}, "min is not an option; did you mean --min?"),
        ("train --min soon --on error", "train", {"on": "error"}, "'soon' is not a duration"),
        ("train --min", "train", {}, "--min expects DURATION"),
        ("train --min --on error", "train", {"on": "error"}, "--min expects DURATION"),
        ("--mention @minsu train", "train", {}, "'@minsu' cannot be mentioned"),
        ("train --tail -1 --show a=", "train", {}, "--tail cannot be '-1'"),
        ("my run", "my run", {}, "unexpected argument 'run'; quote values that contain spaces"),
        ("'no end --tail 2", "no end", {"tail": 2}, "unclosed quote"),
        ("train --help", "train", {}, "for help write %%notify_on_finish?"),
    ],
)
def test_invalid_word_affects_only_itself(line: str, name: str, options: dict[str, Any], problem: str) -> None:
    arguments = parse_cell_arguments(line)

    assert (arguments.name, dict(arguments.options)) == (name, options)
    assert problem in arguments.problems[0]
    assert "usage: %%notify_on_finish" in arguments.problems[-1]


WORDS = st.sampled_from(
    [*(option.flag for option in RUN_OPTION_SPECS), "--mni", "-x", "5m", "1", "a b", "'", '"', "=", "--", "", "error"]
)


@given(st.lists(st.one_of(WORDS, st.text(max_size=5))).map(" ".join))
def test_any_header_gives_valid_options(line: str) -> None:
    arguments = parse_cell_arguments(line)

    assert arguments.options.keys() <= RunOptions.__dataclass_fields__.keys()
    RunOptions(**arguments.options)


@given(
    st.lists(WORDS.filter(lambda word: word.startswith("-"))), st.lists(st.sampled_from(["--mni 5m", "--tail 5 --x"]))
)
def test_name_before_all_options_is_kept(flags: list[str], options: list[str]) -> None:
    assert parse_cell_arguments(" ".join(["train", *options, *flags])).name == "train"


@pytest.mark.parametrize(
    ("line", "options"),
    [("--mni 5m --on error", {"on": "error"}), ("--min soon", {}), ("--min 5min", {"min_seconds": 300.0})],
)
def test_notify_all_ignores_invalid_options(line: str, options: dict[str, Any]) -> None:
    arguments = parse_notify_all_arguments(line)

    assert arguments is not None
    assert dict(arguments.options) == options
    assert bool(arguments.problems) is (line != "--min 5min")


def test_notify_all_off_returns_none() -> None:
    assert parse_notify_all_arguments("--off") is None


@pytest.mark.parametrize("line", ["off", "--of", "--offf", "train"])
def test_notify_all_rejects_misspelled_off(line: str) -> None:
    with pytest.raises(UsageError):
        parse_notify_all_arguments(line)


def test_statement_runs_despite_invalid_value() -> None:
    arguments, statement = parse_statement_arguments("--min soon --on error train(--x)")

    assert (arguments.name, statement, dict(arguments.options)) == ("train(--x)", "train(--x)", {"on": "error"})
    assert "'soon' is not a duration" in arguments.problems[0]


def test_statement_after_unknown_option_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"did you mean --min\?"):
        parse_statement_arguments("--mni 5m train()")
