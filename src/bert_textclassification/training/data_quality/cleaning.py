"""Check the rows and clean train: the checks of `data_checks.CHECKS`, one after the other."""

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import replace

import pandas as pd

from bert_textclassification.errors import DataError
from bert_textclassification.training import data_quality
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import Issue, Suspects
from bert_textclassification.training.data_checks import CHECKS
from bert_textclassification.training.display.progress import progress

CheckFunction = Callable[[pd.DataFrame, TrainingConfig], Suspects | None]


def check_function(name: str) -> CheckFunction:
    """Return the function of the check `name`; its module is imported now, because some take seconds."""
    function: CheckFunction = pkgutil.resolve_name(f"{data_quality.__name__}.{CHECKS[name].function}")
    return function


def check_and_clean(
    rows: pd.DataFrame, names: Iterable[str], config: TrainingConfig
) -> tuple[pd.DataFrame, list[Issue]]:
    """Run the checks `names` in order; the suspects of those in `config.drop_issues` leave train, and no other split.

    Each check sees the rows that the checks before it have left: a row counts as dropped once.

    Args:
        rows: the rows of all splits.
        names: names of CHECKS.
        config: the settings.

    Raises:
        DataError: no row of one label is left to train on.
    """
    issues = []
    for name in progress(list(names), desc="checking data", unit="check", delay=3):
        suspects = check_function(name)(rows, config)
        if suspects is None:
            continue
        issue = Issue(name, *suspects)
        if name in config.drop_issues:
            rows, issue = _dropped(rows, issue)
        issues.append(issue)
    return rows, issues


def _dropped(rows: pd.DataFrame, issue: Issue) -> tuple[pd.DataFrame, Issue]:
    """Return the rows without those of the issue in train, and the issue with their number."""
    in_train = rows["split"] == "train"
    suspects = issue.rows[issue.rows["split"] == "train"]
    is_dropped = in_train & _places(rows).isin(_places(suspects))
    kept = rows[~is_dropped].reset_index(drop=True)
    lost = set(rows["label"][in_train]) - set(kept["label"][kept["split"] == "train"])
    if lost:
        raise DataError(
            f"No row of train labelled {min(lost)!r} is left without {issue.kind}; check the data or take "
            f"{issue.kind!r} out of drop_issues."
        )
    return kept, replace(issue, dropped=int(is_dropped.sum()))


def _places(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[["source", "line"]])
