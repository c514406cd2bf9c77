"""SIGTERM and Ctrl-C: fine-tuning writes a checkpoint before it stops; everything else stops at once.

A platform that takes a machine back sends SIGTERM, and SIGKILL two minutes later.
"""

import signal
import sys
from types import FrameType
from typing import Any, NoReturn

from transformers import TrainerCallback

from bert_textclassification.training.fine_tuning import distributed


class _Request:
    """Whether somebody asked to stop, and whether that must wait for a checkpoint."""

    asked = False
    is_repeated = False
    postponed = False
    number: int = signal.SIGTERM


_request = _Request()


def heed_sigterm() -> None:
    """From now on, stop on SIGTERM with status 0."""
    signal.signal(signal.SIGTERM, _on_signal)


def heed_ctrl_c() -> None:
    """From now on, raise KeyboardInterrupt on Ctrl-C after the checkpoint is written; a second one does not wait."""
    signal.signal(signal.SIGINT, _on_signal)


def leave_if_asked() -> None:
    """Stop here if SIGTERM came in the meantime."""
    if _request.asked:
        _leave()


class EvaluationStopped(Exception):
    """SIGTERM came while a step was evaluated: it is saved as it is, and evaluated by the next start."""


class StopWithCheckpoint(TrainerCallback):
    """Lets fine-tuning end with a checkpoint after the step in which SIGTERM came, on every host after the same."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From here on, stopping waits for a checkpoint; a step whose evaluation was stopped is evaluated first."""
        _request.postponed = True
        is_due = state.global_step == state.max_steps or state.global_step % state.eval_steps == 0
        evaluated = {row["step"] for row in state.log_history if "eval_loss" in row}
        args.eval_on_start = state.global_step > 0 and is_due and state.global_step not in evaluated

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint and for the end."""
        if distributed.any_of(_request.asked):
            _request.asked = True
            control.should_save = control.should_training_stop = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop between two batches of an evaluation: the whole of it may take longer than there is time.

        Raises:
            EvaluationStopped: SIGTERM came.
        """
        if distributed.any_of(_request.asked):
            _request.asked = True
            raise EvaluationStopped

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Nothing waits any longer."""
        _request.postponed = False


def _on_signal(number: int, frame: FrameType | None) -> None:
    _request.is_repeated, _request.asked = _request.asked, True
    _request.number = number
    if not _request.postponed or (number == signal.SIGINT and _request.is_repeated):
        _leave()


def _leave() -> NoReturn:
    if _request.number == signal.SIGINT:
        raise KeyboardInterrupt
    print("stopped by SIGTERM; the next start goes on from the last checkpoint", file=sys.stderr, flush=True)
    sys.exit(0)
