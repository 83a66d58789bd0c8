"""Hypothesis strategies for any text in an event, and for any event about a run."""

from __future__ import annotations

from hypothesis import strategies as st

from cwnotify.alerts.events.run_options import LANGUAGES, ON_CHOICES, RunOptions
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
)

HOSTILE_FRAGMENTS = (
    "<!channel>",
    "<@U123|x>",
    "<https://evil.example|click>",
    "&",
    "<",
    ">",
    "&amp;",
    "```",
    "`",
    "*",
    "~",
    "_",
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x1b",
    "\u2028",
    "\u202e",
    "\ud800",
    "\udfff",
    "가나다",
    "🚀",
    "{name}",
    "%s",
)
MENTIONS = ("", "<!here>", "<!channel>", "<@U0123ABCD>", "<!subteam^S0123ABCD>")


def any_text(max_size: int = 60, surrogates: bool = True) -> st.SearchStrategy[str]:
    """Generate any text, hostile text often, and very long text sometimes."""
    characters = st.characters() if surrogates else st.characters(exclude_categories=["Cs"])
    pieces = [piece for piece in HOSTILE_FRAGMENTS if surrogates or not any("\ud800" <= c <= "\udfff" for c in piece)]
    piece = st.sampled_from(pieces) | st.text(characters, max_size=5)
    mixed = st.lists(piece, max_size=max_size // 4).map("".join)
    long = st.builds(lambda piece, times: piece * times, st.sampled_from(pieces), st.sampled_from((30, 260, 3_100)))
    return st.text(characters, max_size=max_size) | mixed | long


TIMESTAMPS = st.floats(0, 4e9)
DURATIONS = st.floats(-10, 1e8)


def any_run(text: st.SearchStrategy[str], names: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Run]:
    """Generate any run, with `text` in every field that holds a user's text."""
    options = st.builds(
        RunOptions,
        min_seconds=DURATIONS,
        on=st.sampled_from(ON_CHOICES),
        mention=st.sampled_from(MENTIONS),
        show=st.lists(text, max_size=3).map(tuple),
        tail=st.integers(0, 200),
        lang=st.sampled_from(LANGUAGES),
        channel=text,
        zone=text | st.just("Asia/Seoul"),
        together=st.booleans(),
    )
    place = st.builds(
        RunLocation,
        notebook=text,
        cell=st.none() | st.integers(0, 10**6),
        host=text,
        instance=text,
        instance_type=text,
        zone=text,
    )
    return st.builds(
        Run,
        id=st.text("0123456789abcdef", min_size=1, max_size=24),
        name=text if names is None else names,
        started=TIMESTAMPS,
        kind=st.sampled_from(RunKind),
        place=place,
        options=options,
        job=st.sampled_from(("", "job-1")),
    )


def any_run_ended(
    text: st.SearchStrategy[str], names: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[RunResult]:
    """Generate any result of any run, including combinations that cwnotify never writes."""
    loss = st.builds(
        RunLoss,
        cause=st.sampled_from(LossCause),
        signal=st.sampled_from(("", "SIGKILL", "SIGSEGV")) | text,
        code=st.none() | st.integers(0, 255),
        oom_kills=st.integers(0, 5),
        found_later=st.booleans(),
    )
    kind = text if names is None else names
    return st.builds(
        RunResult,
        run=any_run(text, names),
        outcome=st.sampled_from(Outcome),
        seconds=DURATIONS,
        ended=TIMESTAMPS,
        failure=st.none() | st.builds(RunFailure, type=kind, message=text, frames=text),
        loss=st.none() | loss,
        shown=st.lists(st.builds(CapturedValue, expression=text, value=text, error=text), max_size=9).map(tuple),
        tail=text,
        command=st.none() | st.builds(FailedCommand, text=text, code=st.integers(0, 255), signal=text),
        cpu=st.lists(st.floats(0, 100), max_size=120).map(tuple),
        vitals=st.none()
        | st.builds(
            LoadSample,
            at=TIMESTAMPS,
            cpu=st.floats(0, 100),
            memory_used=st.integers(0, 2**44),
            memory_total=st.integers(0, 2**44),
        ),
    )
