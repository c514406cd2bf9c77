"""What the data look like before training: the balance of the labels, and all issues.

    splits = audit(load_splits(config), config)
    issues_table(splits)               # one row a kind: how many, and what to do
    rows_table(splits, "label_error")  # the rows themselves, worst first

The manifest and the model card have the issues as `findings`; `findings.csv` has their rows.
"""

from dataclasses import replace

import pandas as pd

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import COLUMNS
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.data_checks import CHECKS
from bert_textclassification.training.data_quality.cleaning import check_and_clean


def audit(splits: Splits, config: TrainingConfig) -> Splits:
    """Return `splits` with all issues: those of `load_splits`, and those of the slow checks that did not run there.

    Rows of kinds in `config.drop_issues` have already left train.
    """
    checks = [name for name, check in CHECKS.items() if check.is_slow and name not in config.drop_issues]
    _, issues = check_and_clean(splits.rows(), checks, config)
    return replace(splits, issues=sorted([*splits.issues, *issues], key=lambda issue: [*CHECKS].index(issue.kind)))


def balance_table(splits: Splits) -> pd.DataFrame:
    """Return rows, positives and the positive share of each split."""
    balance = []
    for name, rows in splits.items():
        positives = sum(splits.targets(rows))
        balance.append({"split": name, "rows": len(rows), "positive": positives, "share": positives / len(rows)})
    return pd.DataFrame(balance).set_index("split").round(3)


def issues_table(splits: Splits) -> pd.DataFrame:
    """Return each issue: rows, their share of all rows that were read, rows dropped, what to do."""
    rows_read = len(splits.rows()) + sum(issue.dropped for issue in splits.issues)
    issues = [
        {
            "kind": issue.kind,
            "count": issue.count,
            "share": round(issue.count / rows_read, 4),
            "dropped": issue.dropped,
            "what to do": issue.message,
        }
        for issue in splits.issues
    ]
    return pd.DataFrame(issues, columns=["kind", "count", "share", "dropped", "what to do"]).set_index("kind")


def rows_table(splits: Splits, kind: str | None = None, rows: int | None = None) -> pd.DataFrame:
    """Return the first `rows` rows of each issue, or of that of the given kind, worst first."""
    shown = [
        issue.rows.head(issue.count if rows is None else rows).assign(kind=issue.kind)
        for issue in splits.issues
        if issue.count and kind in (None, issue.kind)
    ]
    empty = pd.DataFrame(columns=["kind", *COLUMNS])
    return pd.concat(shown, ignore_index=True)[["kind", *COLUMNS]] if shown else empty
