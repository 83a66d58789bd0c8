"""The cells for Keras, Lightning and Hugging Face in ``notebooks/training.ipynb``, with the real frameworks.

Only ``make frameworks`` runs these tests, because they install 1.5 GB into a virtual environment.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.support.environments import ROOT, venv_python
from tests.support.kernel import World, alert_outcome, alert_text, wait_for_alert
from tests.support.slack import Slack

pytestmark = pytest.mark.frameworks
PINS = (
    *("torch==2.13.0+cpu", "keras==3.15.1", "lightning==2.6.6", "transformers==5.23.0", "accelerate==1.15.0"),
    "joblib==1.6.0",
    *("ipython==9.18.1", "requests==2.34.2", "psutil==7.2.2"),
)
BACKEND = {"KERAS_BACKEND": "torch"}
RUN = """
import sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "cwnotify")
for cell in map(str.strip, sys.stdin.read().split("@@@")):
    shell.run_cell(cell)
"""
KERAS = """
import keras, numpy
x = numpy.random.default_rng(0).random((64, 4)); y = x.sum(axis=1)
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
model.compile(optimizer="sgd", loss="mse", metrics=["mae"])
"""
LIGHTNING = """
import torch
from lightning.pytorch import LightningModule, Trainer as Base
from torch.utils.data import DataLoader, TensorDataset

class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch):
        loss = (self.layer(batch[0]) ** 2).mean()
        self.log("loss", loss)
        return loss
    def validation_step(self, batch):
        self.log("val_loss", (self.layer(batch[0]) ** 2).mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)

def Trainer(**more):
    return Base(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, **more)

model, train_loader = Net(), DataLoader(TensorDataset(torch.rand(32, 4)), batch_size=8)
test_loader = train_loader
"""
HUGGING_FACE = """
import torch
from transformers import Trainer, TrainingArguments

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels=None):
        guess = self.layer(x).squeeze(-1)
        return {"loss": ((guess - labels) ** 2).mean(), "logits": guess}

model, train_set = Net(), [{"x": torch.rand(4), "labels": torch.tensor(1.0)} for _ in range(32)]
arguments = TrainingArguments("out", max_steps=6, logging_steps=2, report_to=[], use_cpu=True, disable_tqdm=True,
                              save_strategy="no")
"""
FRAMEWORKS = {
    "keras-net": (KERAS, "epoch", "3 of 3", ("loss", "mae", "val_loss", "val_mae")),
    "lightning-net": (LIGHTNING, "epoch", "3 of 3", ("step", "loss", "val_loss")),
    "hugging-face-net": (HUGGING_FACE, "step", "6 of 6", ("loss", "learning_rate", "epoch")),
}


@pytest.fixture(scope="module")
def python() -> Path:
    return venv_python("frameworks", *PINS)


def notebook_cell(name: str) -> str:
    """Return the notebook's cell for the run `name`."""
    text = "\n".join(cell.source for cell in nbformat.read(ROOT / "notebooks" / "training.ipynb", as_version=4).cells)
    (cell,) = re.findall(rf"```python\n(%%notify_on_finish {name}\n.*?)```", text, re.DOTALL)
    return str(cell)


def shown_values(text: str) -> dict[str, str]:
    """Return the values in an alert's text by name. Many values are lines instead of fields."""
    return dict(
        re.findall(r"^\*(.+)\*\n`?(.+?)`?$", text, re.MULTILINE) + re.findall(r"^(\w+) = (.+)$", text, re.MULTILINE)
    )


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_training_metrics_are_in_alert(name: str, python: Path, world: World, slack: Slack) -> None:
    setup, field, progress, metrics = FRAMEWORKS[name]

    result = world.execute(python, "-c", RUN, input=f"{setup}@@@{notebook_cell(name)}", timeout=180, env=BACKEND)

    alert = wait_for_alert(slack, name)
    assert alert_outcome(alert) == "finished", result.stdout + result.stderr
    values = shown_values(alert_text(alert))
    assert values[field] == progress
    assert all(float(values[metric]) >= 0 for metric in metrics)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_killed_training_leaves_metrics(name: str, python: Path, world: World, slack: Slack) -> None:
    setup, field, progress, metrics = FRAMEWORKS[name]
    cell = f"{notebook_cell(name)}\nimport os\nos.kill(os.getpid(), 9)"

    result = world.execute(python, "-c", RUN, input=f"{setup}@@@{cell}", timeout=180, env=BACKEND)

    alert = wait_for_alert(slack, name)
    assert alert_outcome(alert) == "lost", result.stdout + result.stderr
    values = shown_values(alert_text(alert))
    assert values[field] == progress
    assert set(metrics) <= set(values)


# Cells whose work is done by other processes

JOBLIB = """
from joblib import Parallel, delayed

def load(row):
    return int(row)
"""
ACCELERATE = """
from accelerate import notebook_launcher

def train():
    import cwnotify
    from accelerate import Accelerator
    accelerator = Accelerator(cpu=True)
    cwnotify.note(rank=accelerator.process_index, size=accelerator.num_processes)
"""
STRATEGY = LIGHTNING + "import cwnotify.callbacks\n"


def test_joblib_worker_error_shows_user_lines(python: Path, world: World, slack: Slack) -> None:
    cell = "%%notify_on_finish load\nParallel(2)(delayed(load)(row) for row in '1x')"
    world.execute(python, "-c", RUN, input=f"%load_ext cwnotify@@@{JOBLIB}@@@{cell}", timeout=180)

    text = alert_text(wait_for_alert(slack, "load"))
    assert "Parallel(2)(delayed(load)(row) for row in '1x')" in text
    assert "ValueError: invalid literal for int() with base 10: 'x'\nIn another process:\n" in text
    assert "in load\n    return int(row)" in text


@pytest.mark.parametrize(
    ("setup", "cell", "notes"),
    [
        (ACCELERATE, "notebook_launcher(train, num_processes=2)", {"rank": "0", "size": "2"}),
        (
            STRATEGY,
            "Trainer(devices=2, strategy='ddp_notebook', max_epochs=3, callbacks=[cwnotify.callbacks.lightning()])"
            ".fit(model, train_loader)",
            {"epoch": "3 of 3"},
        ),
    ],
    ids=["accelerate", "Lightning"],
)
def test_note_of_rank_0_process_reaches_cell(
    setup: str, cell: str, notes: dict[str, str], python: Path, world: World, slack: Slack
) -> None:
    result = world.execute(python, "-c", RUN, input=f"{setup}@@@%%notify_on_finish train\n{cell}", timeout=180)

    alert = wait_for_alert(slack, "train")
    assert alert_outcome(alert) == "finished", result.stdout + result.stderr
    assert notes.items() <= shown_values(alert_text(alert)).items()


@pytest.mark.parametrize("callback", ["", "cwnotify.callbacks.lightning()"])
def test_stopped_lightning_training_is_interrupted(callback: str, python: Path, world: World, slack: Slack) -> None:
    """Lightning catches the interrupt and exits."""
    cell = (
        f"%%notify_on_finish stopped{len(callback)}\nimport signal\nimport cwnotify.callbacks\n"
        "from lightning.pytorch import Callback\nclass Stop(Callback):\n"
        "    def on_train_epoch_end(self, trainer, pl_module):\n        signal.raise_signal(signal.SIGINT)\n\n"
        f"Trainer(max_epochs=3, callbacks=[Stop(), {callback}]).fit(model, train_loader)"
    )
    result = world.execute(python, "-c", RUN, input=f"{LIGHTNING}@@@{cell}", timeout=180)

    assert alert_outcome(wait_for_alert(slack, f"stopped{len(callback)}")) == "interrupted", (
        result.stdout + result.stderr
    )
