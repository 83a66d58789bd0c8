"""The words after a magic: a run keeps its name and its alert, whatever else is wrong."""

from __future__ import annotations

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
def test_a_header_is_read(line, name, options):
    asked = parse_cell_arguments(line)

    assert (asked.name, dict(asked.options), asked.problems) == (name, options, ())


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
        ("'no end --tail 2", "no end", {"tail": 2}, "has no partner"),
        ("train --help", "train", {}, "for help write %%notify_on_finish?"),
    ],
)
def test_what_is_wrong_costs_only_itself(line, name, options, problem):
    asked = parse_cell_arguments(line)

    assert (asked.name, dict(asked.options)) == (name, options)
    assert problem in asked.problems[0]
    assert "usage: %%notify_on_finish" in asked.problems[-1]


WORDS = st.sampled_from(
    [*(option.flag for option in RUN_OPTION_SPECS), "--mni", "-x", "5m", "1", "a b", "'", '"', "=", "--", "", "error"]
)


@given(st.lists(st.one_of(WORDS, st.text(max_size=5))).map(" ".join))
def test_any_header_is_read(line):
    asked = parse_cell_arguments(line)

    assert asked.options.keys() <= RunOptions.__dataclass_fields__.keys()
    RunOptions(**asked.options)


@given(
    st.lists(WORDS.filter(lambda word: word.startswith("-"))), st.lists(st.sampled_from(["--mni 5m", "--tail 5 --x"]))
)
def test_a_name_before_all_options_is_kept(flags, more):
    assert parse_cell_arguments(" ".join(["train", *more, *flags])).name == "train"


def test_all_cells_are_followed_whatever_else_is_wrong():
    assert dict(parse_notify_all_arguments("--mni 5m --on error").options) == {"on": "error"}
    assert dict(parse_notify_all_arguments("--min soon").options) == {}
    assert parse_notify_all_arguments("--off") is None
    assert parse_notify_all_arguments("--min 5min").problems == ()


@pytest.mark.parametrize("line", ["off", "--of", "--offf", "train"])
def test_what_may_have_meant_stop_starts_nothing(line):
    with pytest.raises(UsageError):
        parse_notify_all_arguments(line)


def test_a_statement_runs_whatever_a_value_is():
    asked, statement = parse_statement_arguments("--min soon --on error train(--x)")

    assert (asked.name, statement, dict(asked.options)) == ("train(--x)", "train(--x)", {"on": "error"})
    assert "'soon' is not a duration" in asked.problems[0]


def test_where_a_statement_begins_has_to_be_known():
    with pytest.raises(UsageError, match=r"did you mean --min\?"):
        parse_statement_arguments("--mni 5m train()")
