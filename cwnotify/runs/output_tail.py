"""The last lines that a run prints, for ``--tail``. Standard library and `alerts.limits` only.

``sys.stdout`` and ``sys.stderr`` stay the objects that they are wherever they let themselves be listened to: only
their ``write`` is shadowed while the cell runs.
"""

from __future__ import annotations

import sys
from typing import Any

from cwnotify.alerts.text_limits import OUTPUT_TAIL_WINDOW

MAX_BUFFERED_CHARS = 32_768


class OutputTail:
    """Listens to both streams from `start` to `stop`."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._pieces: list[str] = []
        self._length = 0
        self._undo: list[tuple[dict[str, Any], str, object, object]] = []

    def start(self) -> None:
        """Begin to listen. A stream that cannot be listened to is left alone."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name, None)
            try:
                self._listen(name, stream)
            except (AttributeError, TypeError):
                continue

    def stop(self) -> str:
        """Stop listening; gives the last lines, and what precedes them: `alerts.scrub` redacts it and cuts it off."""
        for names, name, ours, before in self._undo:
            # The cell may have put something of its own there: that stays.
            if names.get(name) is not ours:
                continue
            if before is None:
                del names[name]
            else:
                names[name] = before
        self._undo.clear()
        text = "".join(self._pieces)[-MAX_BUFFERED_CHARS:]
        # A progress bar draws over its line: what a person saw last is what follows the last carriage return.
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip().split("\n")]
        return "\n".join(lines)[-OUTPUT_TAIL_WINDOW:] if self._lines else ""

    def _listen(self, name: str, stream: Any) -> None:
        write = stream.write

        def heard(text: str, *rest: Any) -> Any:
            written = write(text, *rest)
            self.add_output(text)
            return written

        try:
            names = stream.__dict__
            if any(names is known for known, *_ in self._undo):
                # Both names stand for one stream, which is listened to already.
                return
            # Somebody else may listen there too, and goes on to when we are done.
            before = names.get("write")
            stream.write = heard
        except AttributeError:
            # A file of C's making takes no attributes; a stand-in does what it does, and lends its other attributes.
            stand_in = _StandIn(stream, heard)
            setattr(sys, name, stand_in)
            self._undo.append((sys.__dict__, name, stand_in, stream))
            return
        self._undo.append((names, "write", heard, before))

    def add_output(self, text: object, prepend: bool = False) -> None:
        """Take what was printed, after what came so far or `first`."""
        if not isinstance(text, str):
            return
        if prepend:
            self._pieces.insert(0, text)
            return
        self._pieces.append(text[-MAX_BUFFERED_CHARS:])
        self._length += len(self._pieces[-1])
        if self._length > 2 * MAX_BUFFERED_CHARS:
            self._pieces = ["".join(self._pieces)[-MAX_BUFFERED_CHARS:]]
            self._length = MAX_BUFFERED_CHARS


class _StandIn:
    def __init__(self, stream: Any, write: Any) -> None:
        self._stream = stream
        self.write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
