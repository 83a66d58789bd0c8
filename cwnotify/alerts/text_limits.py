"""How long a run's texts are in a message, and how much more is kept until they are redacted. Constants only.

A text is cut twice. The process that reads it keeps `REDACTION_MARGIN` more characters than a message shows, because a
secret that was cut no longer matches its pattern. `redaction.run_events` redacts the text, then cuts it to the limit.
"""

from __future__ import annotations

# All in characters. No pattern needs more than this to recognize a secret, including its label.
REDACTION_MARGIN = 1_000
MAX_RUN_NAME_LENGTH = 200
MAX_DERIVED_NAME_LENGTH = 80  # of a command line or statement, which the user did not choose as a name
MAX_ERROR_TYPE_LENGTH = 80
MAX_ERROR_MESSAGE_LENGTH = 1_500
MAX_FRAME_LINE_LENGTH = 240
MAX_VALUE_LABEL_LENGTH = 80  # of a captured value
MAX_VALUE_LENGTH = 500
MAX_OUTPUT_TAIL_LENGTH = 2_500
# Earlier lines may identify the shown ones, such as the first line of a private key.
OUTPUT_TAIL_WINDOW = 8_000
