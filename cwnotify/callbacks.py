"""A training's metrics for its alert, told by the framework that trains: Keras, Lightning, Hugging Face.

Each function gives one callback to hand to the framework. It does nothing but call `cwnotify.note`, so it is the
registered cell, or `cwnotify.notify` around the training, that tells how it ended::

    with cwnotify.notify("resnet50"):
        model.fit(x, y, epochs=90, callbacks=[cwnotify.callbacks.keras()])

A framework is imported when its callback is asked for. Apart from that, standard library and `recording` only.
"""

from __future__ import annotations

from typing import Any

from cwnotify.runs.recorder import note, record_interrupt


def keras() -> Any:
    """For ``model.fit(..., callbacks=[keras()])``: the epoch and its metrics, after each epoch.

    Returns
    -------
    keras.callbacks.Callback
    """
    from keras.callbacks import Callback

    class Note(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            note({"epoch": _of(epoch + 1, self.params.get("epochs")), **(logs or {})})

    return Note()


def lightning() -> Any:
    """For ``Trainer(callbacks=[lightning()])``: the epoch, the step and what ``self.log`` logged, after each epoch.

    Returns
    -------
    lightning.pytorch.Callback
        Or that of ``pytorch_lightning``, where Lightning is installed under its former name.
    """
    try:
        from lightning.pytorch import Callback
    except ImportError:
        from pytorch_lightning import Callback

    class Note(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            _note(trainer)

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            # Before the training there is a trial of the validation, whose metrics mean nothing.
            if not trainer.sanity_checking:
                _note(trainer)

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            # Up to version 2.1, `fit` returns normally after an interrupt.
            if isinstance(exception, KeyboardInterrupt):
                record_interrupt()

        def __reduce__(self) -> Any:
            # Strategies that spawn processes pickle their callbacks.
            return lightning, ()

    def _note(trainer: Any) -> None:
        if not trainer.is_global_zero:
            # The strategy may have launched it without a variable that says so.
            return
        epoch = _of(trainer.current_epoch + 1, trainer.max_epochs)
        note({"epoch": epoch, "step": trainer.global_step, **trainer.callback_metrics})

    return Note()


def hugging_face() -> Any:
    """For ``Trainer(callbacks=[hugging_face()])``: the step and what is logged, every ``logging_steps``.

    Returns
    -------
    transformers.TrainerCallback
    """
    from transformers import TrainerCallback

    class Note(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **more: Any) -> None:
            if state.is_world_process_zero:
                note({"step": _of(state.global_step, state.max_steps), **(logs or {})})

        def __reduce__(self) -> Any:
            return hugging_face, ()

    return Note()


def _of(now: int, last: int | None) -> str:
    return f"{now} of {last}" if last and last > 0 else str(now)
