"""Any text that could stand in an event, and any event about a run, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from cwnotify.alerts.events.run_options import LANGUAGES, WHEN, RunOptions
from cwnotify.alerts.events.runs import (
    FailedCommand,
    Failure,
    Loss,
    LossCause,
    Outcome,
    Place,
    Run,
    RunEnded,
    RunKind,
    Shown,
    Vitals,
)

HOSTILE = (
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


def texts(max_size: int = 60, surrogates: bool = True) -> st.SearchStrategy[str]:
    """Any text, and hostile text more often than chance would have it; now and then very long."""
    characters = st.characters(exclude_categories=() if surrogates else ("Cs",))
    pieces = [piece for piece in HOSTILE if surrogates or not any("\ud800" <= c <= "\udfff" for c in piece)]
    piece = st.sampled_from(pieces) | st.text(characters, max_size=5)
    mixed = st.lists(piece, max_size=max_size // 4).map("".join)
    long = st.builds(lambda one, times: one * times, st.sampled_from(pieces), st.sampled_from((30, 260, 3_100)))
    return st.text(characters, max_size=max_size) | mixed | long


MOMENTS = st.floats(0, 4e9)
SPANS = st.floats(-10, 1e8)


def runs(text: st.SearchStrategy[str], names: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Run]:
    """Any run, with `text` wherever a user's text goes."""
    options = st.builds(
        RunOptions,
        min_seconds=SPANS,
        on=st.sampled_from(WHEN),
        mention=st.sampled_from(MENTIONS),
        show=st.lists(text, max_size=3).map(tuple),
        tail=st.integers(0, 200),
        lang=st.sampled_from(LANGUAGES),
        channel=text,
        zone=text | st.just("Asia/Seoul"),
        together=st.booleans(),
    )
    place = st.builds(
        Place,
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
        started=MOMENTS,
        kind=st.sampled_from(RunKind),
        place=place,
        options=options,
        job=st.sampled_from(("", "job-1")),
    )


def endings(text: st.SearchStrategy[str], names: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[RunEnded]:
    """Any end of any run, also such as no program of ours would make."""
    loss = st.builds(
        Loss,
        cause=st.sampled_from(LossCause),
        signal=st.sampled_from(("", "SIGKILL", "SIGSEGV")) | text,
        code=st.none() | st.integers(0, 255),
        oom_kills=st.integers(0, 5),
        found_later=st.booleans(),
    )
    kind = text if names is None else names
    return st.builds(
        RunEnded,
        run=runs(text, names),
        outcome=st.sampled_from(Outcome),
        seconds=SPANS,
        ended=MOMENTS,
        failure=st.none() | st.builds(Failure, type=kind, message=text, frames=text),
        loss=st.none() | loss,
        shown=st.lists(st.builds(Shown, expression=text, value=text, error=text), max_size=9).map(tuple),
        tail=text,
        command=st.none() | st.builds(FailedCommand, text=text, code=st.integers(0, 255), signal=text),
        cpu=st.lists(st.floats(0, 100), max_size=120).map(tuple),
        vitals=st.none()
        | st.builds(
            Vitals,
            at=MOMENTS,
            cpu=st.floats(0, 100),
            memory_used=st.integers(0, 2**44),
            memory_total=st.integers(0, 2**44),
        ),
    )
