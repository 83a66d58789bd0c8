"""Features that Python 3.10 lacks, the oldest AWS Lambda runtime that the function supports. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
"""

from __future__ import annotations

import re
from datetime import timezone
from enum import Enum

try:
    from enum import StrEnum
except ImportError:

    class StrEnum(str, Enum):  # type: ignore[no-redef]  # noqa: UP042  (enum.StrEnum does not exist before 3.11)
        """Do what enum.StrEnum does: str and format return the value."""

        __str__ = str.__str__


__all__ = ["UTC", "StrEnum", "normalize_iso_time"]

UTC = timezone.utc  # noqa: UP017  (datetime.UTC exists since 3.11)
_TIME = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[T ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


def normalize_iso_time(text: str) -> str:
    """Return a time in the form that `datetime.fromisoformat` of Python 3.10 reads; anything else unchanged.

    It needs a fraction of three or six digits and a colon in the offset. AWS writes ``+0000``, ``Z``, or no offset.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    if hour is None:
        return f"{year}-{month}-{day}"
    digits = "" if offset in (None, "Z") else offset[1:].replace(":", "").ljust(4, "0")
    zone = "+00:00" if offset == "Z" else f"{offset[0]}{digits[:2]}:{digits[2:]}" if offset else ""
    clock = f"{hour}:{minute or '00'}:{second or '00'}.{(fraction or '').ljust(6, '0')[:6]}"
    return f"{year}-{month}-{day}T{clock}{zone}"
