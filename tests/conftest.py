"""Hypothesis: no deadline for one example, since several tests share a machine with real processes.

And the order of the tests, which of them may run twice, and what is said of those that did.
"""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

from tests.support.reruns import drives_kernel_or_browser, failure_reason

settings.register_profile("cwnotify", deadline=None)
settings.load_profile("cwnotify")

# Under nohup, or in the background of a script, these are ignored, and what we start would ignore them too.
for _number, _default in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _default)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that those who share the work end together; a kernel or browser may fail once."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)
    for item in items:
        if isinstance(item, pytest.Function) and drives_kernel_or_browser(item):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each test that was run again, and why."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_line(f"RERUN {report.nodeid}: {failure_reason(report)}")
