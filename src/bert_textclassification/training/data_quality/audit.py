"""What the data look like before anything is trained: balance, and everything that is doubtful.

    splits = audit(load_splits(config), config)
    findings_table(splits)             # one row a kind: how many, and what to do
    rows_table(splits, "label_error")  # the rows themselves, worst first

The findings go into the manifest, too, and their rows into `findings.csv`.
"""

from dataclasses import replace

import pandas as pd

from bert_textclassification.training.config import FINDINGS, TrainingConfig
from bert_textclassification.training.data.issues import COLUMNS
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.data_quality.cleaning import QUICK, clean


def audit(splits: Splits, config: TrainingConfig) -> Splits:
    """Return `splits` with all findings: those of `load_splits`, and those that take a tokenizer, a model or time.

    Rows of kinds in `config.drop` have already left train.
    """
    looked_for = {*QUICK, *config.drop}
    _, slow = clean(dict(splits.items()), [kind for kind in FINDINGS if kind not in looked_for], config)
    findings = sorted([*splits.findings, *slow], key=lambda finding: FINDINGS.index(finding.kind))
    return replace(splits, findings=findings)


def balance_table(splits: Splits) -> pd.DataFrame:
    """Return rows, positives and the positive share of each split."""
    rows = []
    for name, frame in splits.items():
        positives = sum(splits.targets(frame))
        rows.append({"split": name, "rows": len(frame), "positive": positives, "share": positives / len(frame)})
    return pd.DataFrame(rows).set_index("split").round(3)


def findings_table(splits: Splits) -> pd.DataFrame:
    """Return each kind of finding: rows, their share of all rows that were read, rows dropped, what to do."""
    read = sum(len(frame) for _, frame in splits.items()) + sum(finding.dropped for finding in splits.findings)
    rows = [
        {
            "kind": finding.kind,
            "count": finding.count,
            "share": round(finding.count / read, 4),
            "dropped": finding.dropped,
            "what to do": finding.message,
        }
        for finding in splits.findings
    ]
    return pd.DataFrame(rows, columns=["kind", "count", "share", "dropped", "what to do"]).set_index("kind")


def rows_table(splits: Splits, kind: str | None = None, rows: int | None = None) -> pd.DataFrame:
    """Return the first `rows` rows of each finding, or of the one called `kind`, worst first."""
    shown = [
        finding.rows.head(len(finding.rows) if rows is None else rows).assign(kind=finding.kind)
        for finding in splits.findings
        if finding.count and kind in (None, finding.kind)
    ]
    empty = pd.DataFrame(columns=["kind", *COLUMNS])
    return pd.concat(shown, ignore_index=True)[["kind", *COLUMNS]] if shown else empty
