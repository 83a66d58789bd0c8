"""Capture the last lines that a run prints, for ``--tail``. Imports the standard library and `alerts.text_limits`.

``sys.stdout`` and ``sys.stderr`` stay the same objects if they accept attributes: only their ``write`` is shadowed
while the cell runs.
"""

from __future__ import annotations

import sys
from typing import Any

from cwnotify.alerts.text_limits import OUTPUT_TAIL_WINDOW

MAX_BUFFERED_CHARS = 32_768


class OutputTail:
    """Captures both output streams from `start` to `stop`."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._pieces: list[str] = []
        self._length = 0
        # The replaced names: their namespace, the name, our object, and the previous one.
        self._replacements: list[tuple[dict[str, Any], str, object, object]] = []

    def start(self) -> None:
        """Start to capture. Skip a stream that cannot be captured."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name, None)
            try:
                self._capture(name, stream)
            except (AttributeError, TypeError):
                continue

    def stop(self) -> str:
        """Stop capturing; return the last lines with a margin before them, which is cut off after redaction."""
        for namespace, name, replacement, previous in self._replacements:
            # If the cell has replaced it meanwhile, the cell's object stays.
            if namespace.get(name) is not replacement:
                continue
            if previous is None:
                del namespace[name]
            else:
                namespace[name] = previous
        self._replacements.clear()
        text = "".join(self._pieces)[-MAX_BUFFERED_CHARS:]
        # A progress bar overwrites its line, so only the text after the last carriage return counts.
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip().split("\n")]
        return "\n".join(lines)[-OUTPUT_TAIL_WINDOW:] if self._lines else ""

    def _capture(self, name: str, stream: Any) -> None:
        write = stream.write

        def write_and_capture(text: str, *rest: Any) -> Any:
            result = write(text, *rest)
            self.add_output(text)
            return result

        try:
            namespace = stream.__dict__
            if any(namespace is captured for captured, *_ in self._replacements):
                # Both names are the same stream, which is captured already.
                return
            # Another library may have shadowed `write` too; `stop` restores its function.
            previous = namespace.get("write")
            stream.write = write_and_capture
        except AttributeError:
            # A stream implemented in C takes no attributes, so a proxy replaces it.
            proxy = _StreamProxy(stream, write_and_capture)
            setattr(sys, name, proxy)
            self._replacements.append((sys.__dict__, name, proxy, stream))
            return
        self._replacements.append((namespace, "write", write_and_capture, previous))

    def add_output(self, text: object, prepend: bool = False) -> None:
        """Add text after what was printed so far, or before it if `prepend`."""
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


class _StreamProxy:
    """A stream with another `write`; all other attributes are the original's."""

    def __init__(self, stream: Any, write: Any) -> None:
        self._stream = stream
        self.write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
