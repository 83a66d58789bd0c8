"""The order of the tests, which tests may run again, and a report of those that did.

Hypothesis has no deadline for an example, because tests share the machine with real processes.
"""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

from tests.support.reruns import drives_kernel_or_browser, failure_reason

settings.register_profile("cwnotify", deadline=None)
settings.load_profile("cwnotify")

# Under nohup, or in the background of a script, these signals are ignored, and child processes would inherit that.
for _number, _default in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _default)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long tests first, so that all workers end together. Tests with a kernel or browser may fail once."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)
    for item in items:
        if isinstance(item, pytest.Function) and drives_kernel_or_browser(item):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each test that ran again, and why."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_line(f"RERUN {report.nodeid}: {failure_reason(report)}")
