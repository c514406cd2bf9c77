"""Handle SIGTERM and Ctrl-C: fine-tuning writes a checkpoint before it stops; everything else stops immediately.

A platform that reclaims a machine sends SIGTERM, and SIGKILL two minutes later.
"""

import signal
import sys
from types import FrameType
from typing import Any, NoReturn

from transformers import TrainerCallback

from bert_textclassification.training.fine_tuning import distributed


class _StopRequest:
    """State of a request to stop, and whether stopping waits for a checkpoint."""

    requested = False
    is_repeated = False
    postponed = False
    number: int = signal.SIGTERM


_request = _StopRequest()


def handle_sigterm() -> None:
    """Install a handler that stops on SIGTERM with status 0."""
    signal.signal(signal.SIGTERM, _on_signal)


def handle_ctrl_c() -> None:
    """Install a handler that raises KeyboardInterrupt after the checkpoint; a second Ctrl-C raises it immediately."""
    signal.signal(signal.SIGINT, _on_signal)


def stop_if_requested() -> None:
    """Stop if a signal has arrived."""
    if _request.requested:
        _stop()


class EvaluationStopped(Exception):
    """A signal arrived during the evaluation of a step: the step is saved, and the next start evaluates it."""


class StopWithCheckpoint(TrainerCallback):
    """Ends fine-tuning with a checkpoint after the step in which a signal arrived; the same step on every host."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make stopping wait for a checkpoint; evaluate a saved step first if its evaluation was stopped."""
        _request.postponed = True
        is_due = state.global_step == state.max_steps or state.global_step % state.eval_steps == 0
        evaluated = {row["step"] for row in state.log_history if "eval_loss" in row}
        args.eval_on_start = state.global_step > 0 and is_due and state.global_step not in evaluated

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Request a checkpoint and the end of training if a signal has arrived on any host."""
        if distributed.any_host(_request.requested):
            _request.requested = True
            control.should_save = control.should_training_stop = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop between two batches of an evaluation, which may take longer than the time until SIGKILL.

        Raises:
            EvaluationStopped: a signal has arrived on any host.
        """
        if distributed.any_host(_request.requested):
            _request.requested = True
            raise EvaluationStopped

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make stopping immediate again."""
        _request.postponed = False


def _on_signal(number: int, frame: FrameType | None) -> None:
    _request.is_repeated, _request.requested = _request.requested, True
    _request.number = number
    if not _request.postponed or (number == signal.SIGINT and _request.is_repeated):
        _stop()


def _stop() -> NoReturn:
    if _request.number == signal.SIGINT:
        raise KeyboardInterrupt
    print("stopped by SIGTERM; the next start resumes from the last checkpoint", file=sys.stderr, flush=True)
    sys.exit(0)
