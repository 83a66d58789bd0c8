"""Default names of runs, and their locations in alerts."""

from __future__ import annotations

import pytest

from tests.support.kernel import Kernel, World, alert_outcome, alert_text, wait_for_alert
from tests.support.slack import Slack

CODE = "from cwnotify import notify\nwith notify(): pass\n"


def reported_name(world: World, slack: Slack, *arguments: str) -> str:
    """Run a program and return the run's name in its only alert."""
    result = world.execute("python", *arguments, input=CODE)
    assert result.returncode == 0, result.stderr
    world.wait_for_sidecars_to_exit()
    (payload,) = slack.payloads
    return str(payload["text"]).split("*")[1]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["train.py"], "train.py"),
        (["./sub/train.py"], "train.py"),
        (["-m", "train"], "train"),
        (["-m", "package"], "package"),
        (["-m", "package.inner"], "package.inner"),
        (["package"], "package"),
        (["-c", CODE], "python -c"),
        (["-"], "python"),
        ([], "python"),
        (["-m", "cProfile", "-o", "stats", "train.py"], "train.py"),
        (["-m", "runner", "train.py", "an argument"], "train.py"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else None,
)
def test_program_is_named_by_script_or_module(arguments: list[str], name: str, world: World, slack: Slack) -> None:
    for path in ("train.py", "sub/train.py", "package/__main__.py", "package/inner.py"):
        file = world.home / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(CODE)
    (world.home / "package/__init__.py").touch()
    (world.home / "runner.py").write_text(
        "import runpy, sys\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )

    assert reported_name(world, slack, *arguments) == name


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("def train(): pass\nnotify(train)()", "train"),
        ("def main():\n    @notify\n    def train(): pass\n    train()\nmain()", "train"),
        ("class T:\n    @notify\n    def fit(self): pass\nT().fit()", "T.fit"),
        ("notify(lambda: None)()", "python -c"),
    ],
)
def test_function_is_named_by_its_name(function: str, name: str, world: World, slack: Slack) -> None:
    assert reported_name(world, slack, "-c", f"from cwnotify import notify\n{function}") == name


def test_notebook_run_is_named_by_notebook_and_placed_in_cell(world: World, slack: Slack) -> None:
    world.environ["JPY_SESSION_NAME"] = "/home/me/resnet.ipynb"
    with Kernel(world) as kernel:
        kernel.run("from cwnotify import notify")
        kernel.run("1")
        kernel.run("with notify():\n    [][0]")
        alert = wait_for_alert(slack, "resnet.ipynb")

    assert alert_outcome(alert) == "failed"
    assert "resnet.ipynb · In [3]" in alert_text(alert)
    assert "In [3], line 2, in <module>" in alert_text(alert)


def test_run_in_unnamed_notebook_is_named_by_cell(world: World, slack: Slack) -> None:
    (world.home / "train.py").write_text(CODE)
    with Kernel(world) as kernel:
        kernel.run("from cwnotify import notify")
        kernel.run("with notify(): pass")
        assert "ipykernel" not in alert_text(wait_for_alert(slack, "Cell [2]"))
        kernel.run("%run train.py")
        assert alert_outcome(wait_for_alert(slack, "train.py")) == "finished"


def test_function_of_earlier_cell_is_placed_there(world: World, slack: Slack) -> None:
    with Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run("def train():\n    1 / 0")
        kernel.run("%%notify_on_finish train\ntrain()")
        text = alert_text(wait_for_alert(slack, "train"))

    assert "In [3], line 2, in <module>\n    train()\nIn [2], line 2, in train\n    1 / 0\nZeroDivisionError" in text


def test_value_has_same_form_everywhere(world: World, slack: Slack) -> None:
    with Kernel(world) as kernel:
        kernel.run(
            "%load_ext cwnotify\nimport numpy, cwnotify\nv = {'acc': numpy.float32(0.1)}; n = numpy.array([1e7])"
        )
        kernel.run("%%notify_on_finish train --show v,n\ncwnotify.note(noted=v, big=n)")
        text = alert_text(wait_for_alert(slack, "train"))

    assert text.count("{'acc': 0.1}") == 2
    assert text.count("10000000") == 2
