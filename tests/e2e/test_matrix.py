"""The same cells in real kernels of four pairs of ipykernel and IPython, from the oldest to the newest.

Each pair has a virtual environment in ``.matrix/``, created if it is missing or its lock file changed
(``requirements/lock`` lists the pairs). All other packages are those of the other tests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.environments import variant_venv_python
from tests.support.kernel import (
    LONG_RUNNING_CODE,
    Kernel,
    World,
    alert_outcome,
    alert_text,
    delivered_alerts,
    wait_for_alert,
)
from tests.support.slack import Slack

PAIRS = [
    ("6.29.5", "8.18.1"),
    ("6.31.0", "8.39.0"),
    ("7.0.1", "9.6.0"),
    ("7.4.0", "9.18.0"),
]
NAMES = (f"run{number}" for number in count(1))


@pytest.fixture
def name() -> str:
    return next(NAMES)


@pytest.fixture(scope="module", params=PAIRS, ids=[f"ipykernel-{a}-ipython-{b}" for a, b in PAIRS])
def python(request: pytest.FixtureRequest) -> Path:
    ipykernel, _ = request.param
    return variant_venv_python(f"ipykernel-{ipykernel}")


@pytest.fixture(scope="module")
def slack(python: Path) -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture(scope="module")
def kernel(python: Path, slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with World(tmp_path_factory.mktemp("world"), slack.url) as world, Kernel(world, python) as kernel:
        assert kernel.run("%load_ext cwnotify").text == ""
        yield kernel


def test_kernel_has_requested_versions(kernel: Kernel, request: pytest.FixtureRequest) -> None:
    result = kernel.run("import ipykernel, IPython; print(ipykernel.__version__, IPython.__version__)")

    assert tuple(result.stdout.split()) == request.node.callspec.params["python"]


def test_finished_cell_shows_value_once(kernel: Kernel, slack: Slack, name: str) -> None:
    result = kernel.run(f"%%notify_on_finish {name}\nx = 6\nx * 7")

    assert (result.status, result.values) == ("ok", ["42"])
    assert alert_outcome(wait_for_alert(slack, name)) == "finished"


def test_unnamed_cell_is_called_by_number(kernel: Kernel, slack: Slack) -> None:
    number = kernel.run("%%notify_on_finish\n'unnamed'").execution_count

    assert alert_outcome(wait_for_alert(slack, f"Cell [{number}]")) == "finished"


def test_failed_cell_shows_one_traceback_and_aborts_rest(kernel: Kernel, slack: Slack, name: str) -> None:
    failed, followed = kernel.run_all(f"%%notify_on_finish {name}\nx = 1\n1 / 0", "'never'")

    assert failed.status == "error"
    assert [error.name for error in failed.errors] == ["ZeroDivisionError"]
    assert followed.status == "aborted"
    assert "line 3" in alert_text(wait_for_alert(slack, name))


def test_awaiting_cell_is_reported(kernel: Kernel, slack: Slack, name: str) -> None:
    result = kernel.run(f"%%notify_on_finish {name}\nimport asyncio\nawait asyncio.sleep(0, 'slept')")

    assert result.values == ["'slept'"]
    assert alert_outcome(wait_for_alert(slack, name)) == "finished"


@pytest.mark.parametrize("magic", ["%%time", "%%capture"])
def test_error_swallowed_by_magic_is_not_failure(kernel: Kernel, slack: Slack, name: str, magic: str) -> None:
    kernel.run(f"%%notify_on_finish {name}\n{magic}\n1 / 0")

    assert alert_outcome(wait_for_alert(slack, name)) == "failed"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("r = get_ipython().run_cell('1 / 0')", "finished"),
        ("%%time\nr = get_ipython().run_cell('1 / 0')", "finished"),
        ("%time %run broken.py", "failed"),
        ("x = %run broken.py", "failed"),
        ("%run broken.ipy", "failed"),
        ("import sys\ntry:\n    1 / 0\nexcept Exception:\n    sys.exit(1)", "`ZeroDivisionError`"),
        ("!exit 3", "but `!exit 3` exited with code 3"),
        ("x = !exit 3", "but `!exit 3` exited with code 3"),
        ("import asyncio\nt = asyncio.ensure_future(asyncio.sleep(9))\nt.cancel()\nawait t", "`CancelledError`"),
    ],
)
def test_displayed_error_is_failure(kernel: Kernel, slack: Slack, name: str, body: str, text: str) -> None:
    (kernel.world.home / "broken.py").write_text("1 / 0")
    (kernel.world.home / "broken.ipy").write_text("!true\n1 / 0\n")
    kernel.run(f"%%notify_on_finish {name}\n{body}")

    assert text in wait_for_alert(slack, name)["text"]


def test_braces_of_header_and_statement_stay(kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run("epoch = 1")
    kernel.run(f'%%notify_on_finish {name} --show f"{{epoch}}/90"\nepoch = 7')

    assert "7/90" in alert_text(wait_for_alert(slack, name))
    assert kernel.run("%notify_on_finish print('{epoch}')").stdout == "{epoch}\n"


@pytest.mark.parametrize(
    ("body", "input_text", "text"),
    [
        ("input()", "y", "is waiting for your input"),
        ("import pdb\npdb.set_trace()\nx = 1", "c", "is waiting for you in the debugger"),
    ],
)
def test_waiting_cell_is_reported(
    kernel: Kernel, slack: Slack, name: str, body: str, input_text: str, text: str
) -> None:
    cell = kernel.submit_cell(f"%%notify_on_finish {name}\n{body}", input_text)
    slack.wait_for(lambda _: any(text in payload["text"] for payload in delivered_alerts(slack, name)))
    cell.result()
    slack.wait_for(lambda _: any("finished" in payload["text"] for payload in delivered_alerts(slack, name)))

    assert len(delivered_alerts(slack, name)) == 2


def test_interrupted_cell_is_reported(kernel: Kernel, slack: Slack, name: str) -> None:
    cell = kernel.submit_cell(f"%%notify_on_finish {name}\n{LONG_RUNNING_CODE}")
    cell.wait_for_output("begun")
    kernel.interrupt()

    assert cell.result().status == "error"
    assert alert_outcome(wait_for_alert(slack, name)) == "interrupted"


def test_interrupted_awaiting_cell_is_reported(kernel: Kernel, slack: Slack, name: str) -> None:
    # Short sleeps, because an interrupt does not wake the event loop (see test_outcomes).
    body = "import asyncio\nprint('begun', flush=True)\nfor _ in range(1200):\n    await asyncio.sleep(0.05)"
    cell = kernel.submit_cell(f"%%notify_on_finish {name}\n{body}")
    cell.wait_for_output("begun")
    kernel.interrupt()
    cell.result()

    assert alert_outcome(wait_for_alert(slack, name)) == "interrupted"


def test_syntax_error_is_failure(kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run(f"%%notify_on_finish {name}\nx = = 1")

    assert alert_outcome(wait_for_alert(slack, name)) == "failed"


def test_unload_and_load_again_works(kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run("%unload_ext cwnotify")
    kernel.run(f"%%notify_on_finish {name}\n1")
    kernel.run("%load_ext cwnotify")
    loaded_name = next(NAMES)
    kernel.run(f"%%notify_on_finish {loaded_name}\n1")

    assert alert_outcome(wait_for_alert(slack, loaded_name)) == "finished"
    assert not delivered_alerts(slack, name)


def test_killed_kernel_is_reported(kernel: Kernel, slack: Slack, name: str) -> None:
    """Use the pair's kernel, because this is its last test. A rerun starts it again."""
    if not kernel.is_alive():
        kernel.restart()
        kernel.run("%load_ext cwnotify")
    cell = kernel.submit_cell(f"%%notify_on_finish {name}\n{LONG_RUNNING_CODE}")
    cell.wait_for_output("begun")
    kernel.kill()

    assert alert_outcome(wait_for_alert(slack, name)) == "lost"


def test_current_python_is_in_matrix() -> None:
    """The other tests run on the newest pair's major versions."""
    import ipykernel
    import IPython

    newest = tuple(version.split(".")[0] for version in PAIRS[-1])
    assert (ipykernel.__version__.split(".")[0], IPython.__version__.split(".")[0]) == newest, sys.version
