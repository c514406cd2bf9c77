"""How far scores can be taken as probabilities, and the temperature that mends them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

BINS = 15  # of Guo et al. 2017
_TEMPERATURES = (0.05, 20.0)
_DRAWS = 1000


def margins(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far the second logit lies above the first, for logits of shape [texts, 2]."""
    found: NDArray[np.float64] = logits[:, 1].astype(np.float64) - logits[:, 0]
    return found


def calibrated_scores(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Return the score of the second class, in [0, 1], as it is served: the softmax of logits over the temperature."""
    scores: NDArray[np.float64] = expit(margins(logits) / temperature)
    return scores


def fit_temperature(targets: Sequence[int], logits: NDArray[np.float32]) -> float:
    """Return the temperature at which the logits, [texts, 2], give the targets the highest likelihood.

    Temperature scaling (Guo et al. 2017): no label changes, only how sure the scores look. The targets are smoothed as
    by Platt (1999), to (n + 1) / (n + 2) for the n rows of a label: where a model is right on a few rows throughout,
    the scores would otherwise be as sure as the bounds allow.
    """
    truth, margin = np.asarray(targets) == 1, margins(logits)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    smoothed = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(log_temperature: float) -> float:
        scaled = margin / np.exp(log_temperature)
        return float(np.mean(smoothed * np.logaddexp(0, -scaled) + (1 - smoothed) * np.logaddexp(0, scaled)))

    found = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def log_loss(targets: Sequence[int], logits: NDArray[np.float32], temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the targets, in nats."""
    towards_truth = np.where(np.asarray(targets) == 1, 1, -1) * margins(logits) / temperature
    return float(np.mean(np.logaddexp(0, -towards_truth)))


def calibration_error(targets: Sequence[int], scores: ArrayLike) -> float:
    """Return the expected calibration error in [0, 1]: |accuracy - confidence|, mean over BINS bins by their rows.

    Confidence is the score of the label that is more likely, so it lies in [0.5, 1] (Guo et al. 2017).
    """
    table = reliability(targets, scores)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((gaps * table["rows"]).sum() / table["rows"].sum())


def calibration_floor(scores: ArrayLike) -> tuple[float, float]:
    """Return the calibration error that chance alone gives to scores that are right: its mean and 95 % quantile.

    Labels are drawn from the scores, so that a score of 0.8 is right for 80 % of the texts, and the calibration error
    is measured on them.
    """
    confidence = _confidence(np.asarray(scores, dtype=np.float64))
    bins = _bins(confidence)
    sure = np.bincount(bins, confidence)
    rng = np.random.default_rng(0)
    right = np.array([np.bincount(bins, rng.random(len(bins)) < confidence) for _ in range(_DRAWS)])
    errors = np.abs(right - sure).sum(axis=1) / len(bins)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def calibration_in_words(found: dict[str, float]) -> str:
    """Return a sentence on the calibration error in a row of `calibration_table` and what chance alone would give."""
    error, floor, high = (100 * found[name] for name in ("error_after", "error_floor", "error_floor_high"))
    verdict = "no more than chance gives" if error <= high else "more than chance gives"
    return (
        f"Calibration error {error:.2f} %, {verdict}: right scores would measure {floor:.2f} % on so many rows, and in "
        f"19 of 20 cases at most {high:.2f} %."
    )


def reliability(targets: Sequence[int], scores: ArrayLike) -> pd.DataFrame:
    """Return the rows, mean confidence and accuracy of each of BINS bins of equal width that has rows."""
    truth, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    confidence = _confidence(score)
    right = (score >= 0.5) == (truth == 1)
    grouped = pd.DataFrame({"bin": _bins(confidence), "confidence": confidence, "accuracy": right}).groupby("bin")
    return grouped.agg(rows=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean"))


def calibration_table(
    splits: dict[str, tuple[Sequence[int], NDArray[np.float32]]], temperature: float
) -> dict[str, dict[str, float]]:
    """Return the calibration error and the log loss of each split at a temperature of 1 and at `temperature`.

    `error_floor` and `error_floor_high` are those of `calibration_floor` for the scores at `temperature`.

    Args:
        splits: targets and logits, [texts, 2], by name.
        temperature: what the logits are divided by.
    """
    floors = {name: calibration_floor(calibrated_scores(logits, temperature)) for name, (_, logits) in splits.items()}
    return {
        name: {
            "error_before": calibration_error(targets, calibrated_scores(logits, 1.0)),
            "error_after": calibration_error(targets, calibrated_scores(logits, temperature)),
            "error_floor": floors[name][0],
            "error_floor_high": floors[name][1],
            "log_loss_before": log_loss(targets, logits),
            "log_loss_after": log_loss(targets, logits, temperature),
        }
        for name, (targets, logits) in splits.items()
    }


def _confidence(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(scores, 1 - scores)


def _bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each confidence, from 1 to BINS."""
    return np.clip(np.ceil((confidence - 0.5) * 2 * BINS).astype(np.int64), 1, BINS)
