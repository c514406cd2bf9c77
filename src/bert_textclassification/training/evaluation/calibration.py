"""Calibration of scores as probabilities: fit the scale, measure the calibration error."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit
from scipy.stats import chi2

from bert_textclassification.artifact.manifest import ExitScale
from bert_textclassification.engines.base import Outputs
from bert_textclassification.serving.calibration import calibrated_log_odds, margins

BINS = 15  # of Guo et al. 2017
_TEMPERATURES = (0.05, 20.0)
_DRAWS = 1000
_OFFSETS = (-20.0, 20.0)


class LogOdds(NamedTuple):
    """Log-odds of the positive label, [texts] each.

    Attributes:
        raw: from the logits, at a temperature of 1.
        calibrated: as they are served.
    """

    raw: NDArray[np.float64]
    calibrated: NDArray[np.float64]

    @classmethod
    def of(cls, outputs: Outputs, scales: Sequence[ExitScale]) -> "LogOdds":
        """Return the log-odds for the outputs of a variant with these scales."""
        return cls(margins(outputs.logits), calibrated_log_odds(outputs, scales))

    @property
    def scores(self) -> NDArray[np.float64]:
        """The calibrated scores of the positive label, as they are served, in [0, 1]."""
        return probabilities(self.calibrated)


def probabilities(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities with these log-odds: the logistic function."""
    result: NDArray[np.float64] = expit(log_odds)
    return result


def fit_scale(
    targets: ArrayLike, log_odds: NDArray[np.float64], with_offset: bool = False, weights: ArrayLike | None = None
) -> ExitScale:
    """Return the scale that maximises the likelihood of the targets given `log_odds`, [rows].

    Temperature scaling (Guo et al. 2017) changes confidence and no label. With an offset it is Platt scaling (1999).
    The targets are smoothed as in Platt scaling, to (n + 1) / (n + 2) for the n rows of a label. Otherwise a model
    that is right on all of a few rows would get scores as extreme as the bounds allow.

    Args:
        targets: 0 or 1 for each row.
        log_odds: of the positive label, uncalibrated.
        with_offset: whether to fit an offset; see `offset_helps`.
        weights: weight of each row; None for equal weights.
    """
    smoothed = _smoothed(np.asarray(targets) == 1)
    weight = np.ones_like(smoothed) if weights is None else np.asarray(weights, dtype=np.float64)
    weight = weight / weight.sum()

    def loss(log_temperature: float, offset: float = 0.0) -> float:
        scaled = log_odds / np.exp(log_temperature) + offset
        return float(weight @ (smoothed * np.logaddexp(0, -scaled) + (1 - smoothed) * np.logaddexp(0, scaled)))

    log_temperature = float(minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded").x)
    offset = 0.0
    if with_offset:
        bounds = [tuple(np.log(_TEMPERATURES)), _OFFSETS]
        optimum = minimize(lambda values: loss(*values), [log_temperature, offset], method="L-BFGS-B", bounds=bounds)
        log_temperature, offset = optimum.x.tolist()
    return ExitScale(temperature=float(np.exp(log_temperature)), offset=offset)


def offset_helps(targets: ArrayLike, log_odds: NDArray[np.float64]) -> bool:
    """Whether an offset in addition to the temperature fits the targets significantly better (likelihood-ratio test).

    Twice the gain in log-likelihood is compared with chi-squared of one degree of freedom (Wilks 1938), at 5 %. The
    usual reason for an offset is class weights in the training loss: they raise every score of the rarer class.
    """
    without, with_one = (fit_scale(targets, log_odds, with_offset).log_odds(log_odds) for with_offset in (False, True))
    gain = float(np.sum(negative_log_likelihoods(targets, without) - negative_log_likelihoods(targets, with_one)))
    return bool(2 * gain > chi2.isf(0.05, df=1))


def _smoothed(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the targets as Platt (1999) smooths them, [rows]."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    smoothed: NDArray[np.float64] = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    return smoothed


def log_loss(targets: ArrayLike, log_odds: NDArray[np.float64]) -> float:
    """Return the mean negative log-likelihood of the targets, in nats."""
    return float(np.mean(negative_log_likelihoods(targets, log_odds)))


def negative_log_likelihoods(targets: ArrayLike, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each target in nats, [rows]."""
    values: NDArray[np.float64] = np.logaddexp(0, np.where(np.asarray(targets) == 1, -log_odds, log_odds))
    return values


def calibration_error(targets: Sequence[int], scores: ArrayLike) -> float:
    """Return the expected calibration error in [0, 1]: mean |accuracy - confidence| over BINS bins, weighted by rows.

    Confidence is the score of the more likely label, in [0.5, 1] (Guo et al. 2017).
    """
    table = reliability(targets, scores)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((gaps * table["rows"]).sum() / table["rows"].sum())


def calibration_floor(scores: ArrayLike) -> tuple[float, float]:
    """Return mean and 95 % quantile of the calibration error that perfectly calibrated scores get by chance.

    Labels are simulated from the scores (a score of 0.8 is right for 80 % of the texts), and the calibration error is
    measured on them.
    """
    confidence = _confidence(np.asarray(scores, dtype=np.float64))
    bins = _bins(confidence)
    expected = np.bincount(bins, confidence)
    rng = np.random.default_rng(0)
    right = np.array([np.bincount(bins, rng.random(len(bins)) < confidence) for _ in range(_DRAWS)])
    errors = np.abs(right - expected).sum(axis=1) / len(bins)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def describe_calibration(row: dict[str, float]) -> str:
    """Return a sentence that compares the calibration error in a row of `calibration_table` with chance."""
    error, floor, high = (100 * row[name] for name in ("error_after", "error_floor", "error_floor_high"))
    verdict = "within chance" if error <= high else "more than chance explains"
    return (
        f"Calibration error {error:.2f} %, {verdict}: on this number of rows, perfectly calibrated scores measure "
        f"{floor:.2f} % on average and at most {high:.2f} % in 19 of 20 cases."
    )


def reliability(targets: Sequence[int], scores: ArrayLike) -> pd.DataFrame:
    """Return the rows, mean confidence and accuracy of each non-empty bin, of BINS bins of equal width."""
    truth, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    confidence = _confidence(score)
    right = (score >= 0.5) == (truth == 1)
    grouped = pd.DataFrame({"bin": _bins(confidence), "confidence": confidence, "accuracy": right}).groupby("bin")
    return grouped.agg(rows=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean"))


def calibration_table(splits: Mapping[str, tuple[Sequence[int], LogOdds]]) -> dict[str, dict[str, float]]:
    """Return the calibration error and the log loss of each split before and after calibration.

    `error_floor` and `error_floor_high` are from `calibration_floor` for the calibrated scores.

    Args:
        splits: targets and log-odds by name.
    """
    floors = {name: calibration_floor(log_odds.scores) for name, (_, log_odds) in splits.items()}
    return {
        name: {
            "error_before": calibration_error(targets, probabilities(log_odds.raw)),
            "error_after": calibration_error(targets, log_odds.scores),
            "error_floor": floors[name][0],
            "error_floor_high": floors[name][1],
            "log_loss_before": log_loss(targets, log_odds.raw),
            "log_loss_after": log_loss(targets, log_odds.calibrated),
        }
        for name, (targets, log_odds) in splits.items()
    }


def _confidence(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(scores, 1 - scores)


def _bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each confidence, from 1 to BINS."""
    return np.clip(np.ceil((confidence - 0.5) * 2 * BINS).astype(np.int64), 1, BINS)
