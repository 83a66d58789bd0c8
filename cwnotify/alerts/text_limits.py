"""How long the texts of a run are in a message, and how much more of them is kept until they are redacted.

A text is cut twice. The process that reads it keeps `REDACTION_MARGIN` characters more than a message shows, because a secret
that was cut no longer matches its pattern. `redaction.run_events` redacts and then cuts to the limit. Constants only.
"""

from __future__ import annotations

# More than any form needs to be recognised, its label included.
REDACTION_MARGIN = 1_000
MAX_RUN_NAME_LENGTH = 200
MAX_DERIVED_NAME_LENGTH = 80  # of a command line or a statement, which nobody chose as a name
MAX_ERROR_TYPE_LENGTH = 80
MAX_ERROR_MESSAGE_LENGTH = 1_500
MAX_FRAME_LINE_LENGTH = 240
MAX_VALUE_LABEL_LENGTH = 80  # of a shown value
MAX_VALUE_LENGTH = 500
MAX_OUTPUT_TAIL_LENGTH = 2_500
# What precedes the shown lines may say what they are, such as the head of a private key.
OUTPUT_TAIL_WINDOW = 8_000
