"""IPython and ``jupyter console`` on a real terminal, and the shell's Tab key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.kernel import Kernel, World, alert_outcome, wait_for_alert
from tests.support.slack import Slack

TERMINALS = {
    "ipython": ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"],
    "jupyter console": ["-m", "jupyter_console", "--simple-prompt", "--kernel=python3"],
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with World(tmp_path_factory.mktemp("world")) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        yield kernel


@pytest.mark.flaky(reruns=1)  # jupyter console starts a kernel
@pytest.mark.parametrize("name", TERMINALS)
def test_statement_in_terminal_is_reported(name: str, tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, slack.url, TERM="dumb") as world:
        terminal = pexpect.spawn(
            sys.executable, TERMINALS[name], env=world.environ, cwd=str(world.home), encoding="utf-8", timeout=40
        )
        for line in ("%load_ext cwnotify", "%notify_on_finish 40 + 2"):
            terminal.expect(r"In \[\d+\]: ")
            terminal.sendline(line)
        terminal.expect(r"Out\[2\]: ?42")

        assert alert_outcome(wait_for_alert(slack, "40 + 2")) == "finished"
        terminal.close(force=True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%%notify_on_finish x --sh", {"--show"}),
        ("%%notify_on_finish x --on ", {"finish", "error", "always"}),
        ("%notify_on_finish --la", {"--lang"}),
        ("%notify_all --", {"--off", "--min"}),
        ("%notify_all --lang ", {"en", "ko"}),
        ("%cwnotify do", {"doctor"}),
    ],
)
def test_tab_completes_magic_options(line: str, expected: set[str], kernel: Kernel) -> None:
    assert expected <= set(kernel.complete(line))


def test_shell_tab_completes_commands(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        variables = {"_CWNOTIFY_COMPLETE": "bash_complete", "COMP_WORDS": "cwnotify do", "COMP_CWORD": "1"}
        # click names the variable after the program.
        program = Path(sys.executable).with_name("cwnotify")

        assert "plain,doctor" in world.execute(program, env=variables).stdout
