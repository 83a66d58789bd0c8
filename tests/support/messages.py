"""Whether a piece of text can go to Slack as mrkdwn. Whole payloads are for `tests.slack_rules`."""

from __future__ import annotations

import re

_ENTITY = re.compile(r"&(?:amp|lt|gt);")
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def assert_escaped(text: str) -> None:
    """Assert that nothing in `text` pings, links, hides or breaks off."""
    rest = _ENTITY.sub("", text)
    assert not set(rest) & set("&<>"), f"not escaped: {rest[:80]!r}"
    assert not _CONTROLS.search(text), f"cannot be shown: {text[:80]!r}"
