"""Check one text before it goes to Slack as mrkdwn. `tests.slack_rules` checks whole payloads."""

from __future__ import annotations

import re

_ENTITY = re.compile(r"&(?:amp|lt|gt);")
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def assert_escaped(text: str) -> None:
    """Assert that `text` cannot mention, link, hide text or break the layout."""
    without_entities = _ENTITY.sub("", text)
    assert not set(without_entities) & set("&<>"), f"not escaped: {without_entities[:80]!r}"
    assert not _CONTROLS.search(text), f"contains control characters: {text[:80]!r}"
