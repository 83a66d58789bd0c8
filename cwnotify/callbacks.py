"""Callbacks that put training metrics into the alert, for Keras, Lightning and Hugging Face.

Each function returns a callback for its framework. The callback only calls `cwnotify.note`. The end of the training is
reported by the registered cell, or by `cwnotify.notify` around it::

    with cwnotify.notify("resnet50"):
        model.fit(x, y, epochs=90, callbacks=[cwnotify.callbacks.keras()])

A framework is imported when its callback is created. Otherwise this module imports the standard library and
`runs.recorder` only.
"""

from __future__ import annotations

from typing import Any

from cwnotify.runs.recorder import note, record_interrupt


def keras() -> Any:
    """Return a callback that notes the epoch and its metrics after each epoch.

    Use it as ``model.fit(..., callbacks=[keras()])``.

    Returns
    -------
    keras.callbacks.Callback
    """
    from keras.callbacks import Callback

    class Note(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            note({"epoch": _format_progress(epoch + 1, self.params.get("epochs")), **(logs or {})})

    return Note()


def lightning() -> Any:
    """Return a callback that notes the epoch, the step and the logged metrics after each epoch.

    Use it as ``Trainer(callbacks=[lightning()])``.

    Returns
    -------
    lightning.pytorch.Callback
        The one of ``pytorch_lightning`` if Lightning is installed under its former name.
    """
    try:
        from lightning.pytorch import Callback
    except ImportError:
        from pytorch_lightning import Callback

    class Note(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            note_progress(trainer)

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            # The metrics of the sanity check before the training mean nothing.
            if not trainer.sanity_checking:
                note_progress(trainer)

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            # Up to version 2.1, `fit` returns normally after an interrupt.
            if isinstance(exception, KeyboardInterrupt):
                record_interrupt()

        def __reduce__(self) -> Any:
            # Strategies that spawn processes pickle their callbacks.
            return lightning, ()

    def note_progress(trainer: Any) -> None:
        # The strategy may have launched this process without a rank in its environment.
        if not trainer.is_global_zero:
            return
        epoch = _format_progress(trainer.current_epoch + 1, trainer.max_epochs)
        note({"epoch": epoch, "step": trainer.global_step, **trainer.callback_metrics})

    return Note()


def hugging_face() -> Any:
    """Return a callback that notes the step and the logged values every ``logging_steps``.

    Use it as ``Trainer(callbacks=[hugging_face()])``.

    Returns
    -------
    transformers.TrainerCallback
    """
    from transformers import TrainerCallback

    class Note(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **more: Any) -> None:
            if state.is_world_process_zero:
                note({"step": _format_progress(state.global_step, state.max_steps), **(logs or {})})

        def __reduce__(self) -> Any:
            return hugging_face, ()

    return Note()


def _format_progress(number: int, total: int | None) -> str:
    return f"{number} of {total}" if total and total > 0 else str(number)
