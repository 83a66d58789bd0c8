"""What the books say of a lost run when the machine's clock was set meanwhile."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from cwnotify.alerts.events import Loss, LossCause, Run
from cwnotify.sidecar.books import Books
from cwnotify.sidecar.processes import name_process

HERE = "webhook-1"


@pytest.mark.parametrize("set_by", [-86400.0, 86400.0])
def test_how_long_a_lost_run_took_does_not_depend_on_a_clock_that_was_set(set_by: float, tmp_path: Path):
    books, kernel = Books(tmp_path), name_process(os.getpid())
    books.open(Run("r1", "train", time.time()), kernel, HERE)
    books.tell_lost(kernel, Loss(LossCause.SIGNAL, "SIGKILL"), time.time() + set_by, {})

    (message,) = books.outbox.messages("pending")
    assert re.search(r"\*train\* was lost after \*0(\.\d+)? s\*", message.payload["text"])


def test_a_run_whose_beginning_an_earlier_sidecar_saw_took_what_the_clock_says(tmp_path: Path):
    kernel, began = name_process(os.getpid()), time.time() - 7200
    Books(tmp_path).open(Run("r1", "train", began), kernel, HERE)
    later = Books(tmp_path)
    later.tell_lost(kernel, Loss(LossCause.SIGNAL, "SIGKILL"), began + 7200, {})

    (message,) = later.outbox.messages("pending")
    assert "was lost after *2 h" in message.payload["text"]
