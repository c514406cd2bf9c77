"""One trial of a search: fine-tune, prune if the score is poor, and score the int8 model.

Optuna's pruners support one objective only. Here a faster model may be less accurate, so the median rule (Golovin et
al. 2017; Optuna's MedianPruner) compares a trial with equally fast or faster trials only: it is pruned when its best
score so far is below the median of theirs at the same share of the training, where the learning rate's schedule is at
the same point.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState
from sklearn.metrics import log_loss
from transformers import TrainerCallback

from bert_textclassification.errors import UserError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation import selection_metric
from bert_textclassification.training.evaluation.inference import encode
from bert_textclassification.training.evaluation.metrics import compute_metrics, positive_scores
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.modeling.base_models import find_base_model
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.tuning.latency import Stopwatch, int8_engine
from bert_textclassification.training.tuning.space import SearchSpace

CURVE = "curve"  # attribute of a trial: (share of the training, validation score) of every evaluation
REJECTED = "refused"  # attribute of a trial: why its settings cannot be used
MILLISECONDS = "milliseconds"  # attribute of a trial, set before the training
FEWEST_RIVALS = 3
_AS_FAST = 1.05  # a trial counts as equally fast up to this many times the milliseconds
_SAME_SHARE = 0.02  # tolerance: evaluations are at whole steps, and half of 57 steps is 0.49 of them
_LAST_PRUNING = 0.95  # share of the training after which pruning no longer saves time

Curve = Sequence[tuple[float, float]]


def higher_is_better(config: TrainingConfig) -> bool:
    """Whether the metric of the search is to be maximised (all but the loss)."""
    return selection_metric.higher_is_better(config.selection_metric)


class Objective:
    """The objective of Optuna: the validation score of a trial's int8 model and its milliseconds per text."""

    def __init__(self, config: TrainingConfig, splits: Splits, space: SearchSpace, stopwatch: Stopwatch) -> None:
        self._config = config
        self._splits = splits
        self._space = space
        self._stopwatch = stopwatch

    def __call__(self, trial: optuna.Trial) -> tuple[float, float]:
        """Run a trial.

        Raises:
            optuna.TrialPruned: the median rule pruned it.
            UserError: its settings cannot be used; the trial's attribute REJECTED has the reason.
        """
        try:
            return self._measured(trial)
        except UserError as problem:
            trial.set_user_attr(REJECTED, str(problem))
            raise

    def _measured(self, trial: optuna.Trial) -> tuple[float, float]:
        # A trial trains no student: the student would have to be smaller than the trial's model.
        config = TrainingConfig.of(self._config.model_dump() | self._space.suggest(trial) | {"student_layers": 0})
        milliseconds = self._stopwatch.milliseconds(config)
        trial.set_user_attr(MILLISECONDS, milliseconds)
        rivals = curves_of_rivals(trial.study, milliseconds)
        pruning = Pruning(trial, config, rivals)
        with tempfile.TemporaryDirectory(prefix="trial-") as folder:
            fine_tuned = fine_tune(config, self._splits, Path(folder), callbacks=[pruning])
            if pruning.is_pruned:
                raise optuna.TrialPruned
            return int8_score(fine_tuned, self._splits), milliseconds


class Pruning(TrainerCallback):
    """Records a trial's learning curve and stops its training when `should_prune`."""

    def __init__(self, trial: optuna.Trial, config: TrainingConfig, rivals: Sequence[Curve]) -> None:
        self.is_pruned = False
        self._trial = trial
        self._config = config
        self._rivals = rivals
        self._curve: list[tuple[float, float]] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        """Record the new score and decide whether to stop."""
        share = round(state.global_step / state.max_steps, 2)
        self._curve.append((share, metrics[f"eval_{self._config.selection_metric}"]))
        self._trial.set_user_attr(CURVE, self._curve)
        if share < _LAST_PRUNING and should_prune(self._curve, self._rivals, higher_is_better(self._config)):
            self.is_pruned = control.should_training_stop = True


def curves_of_rivals(study: optuna.Study, milliseconds: float) -> list[Curve]:
    """Return the learning curves of the finished trials that are equally fast or faster."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial.user_attrs[CURVE] for trial in finished if trial.values[1] <= _AS_FAST * milliseconds]


def should_prune(curve: Curve, rivals: Sequence[Curve], higher_is_better: bool) -> bool:
    """Whether the best score of `curve` is worse than the median of the rivals' best scores at the same point.

    False if fewer than FEWEST_RIVALS have been evaluated at that point.
    """
    share = curve[-1][0]
    sign = 1 if higher_is_better else -1
    early = [[sign * score for when, score in rival if when <= share + _SAME_SHARE] for rival in rivals]
    best = [max(scores) for scores in early if scores]
    return len(best) >= FEWEST_RIVALS and max(sign * score for _, score in curve) < statistics.median(best)


def int8_score(fine_tuned: FineTuned, splits: Splits) -> float:
    """Return the metric of the search for `fine_tuned` in int8, on validation."""
    tokenizer = find_base_model(str(fine_tuned.folder)).tokenizer()
    token_ids = encode(tokenizer, splits.validation["text"].tolist(), fine_tuned.config.max_length)
    logits = int8_engine(fine_tuned.model()).logits(token_ids)
    return score(fine_tuned.config, splits.targets(splits.validation), logits)


def score(config: TrainingConfig, targets: Sequence[int], logits: NDArray[np.float32]) -> float:
    """Return the metric of the search for logits [texts, 2]; the loss is the mean cross-entropy."""
    scores = positive_scores(logits).tolist()
    if config.selection_metric == "loss":
        return float(log_loss(targets, scores))
    return compute_metrics(targets, scores)[config.selection_metric]
