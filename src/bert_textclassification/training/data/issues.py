"""What is doubtful in the data: the rows to look at, and one line on what to do about them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from bert_textclassification.training.data.rows import Tables

COLUMNS = ["split", "source", "line", "label", "text", "note"]


@dataclass(frozen=True, eq=False)
class Finding:
    """Rows that have the same fault.

    Attributes:
        kind: one of `config.FINDINGS`.
        message: what is wrong and what to do, one line.
        rows: every row found, worst first where they have an order; `note` says what is telling about each.
        dropped: how many of them were dropped from train.
    """

    kind: str
    message: str
    rows: pd.DataFrame
    dropped: int = 0

    @property
    def count(self) -> int:
        """How many rows were found."""
        return len(self.rows)


def found(kind: str, message: str, rows: pd.DataFrame) -> Finding | None:
    """Return the finding, or None where there are no rows."""
    return None if rows.empty else Finding(kind, message, rows[COLUMNS].reset_index(drop=True))


def joined(tables: Tables) -> pd.DataFrame:
    """Return the rows of all splits in one frame, with the column split."""
    named = [frame.assign(split=name) for name, frame in tables.items()]
    return pd.concat(named, ignore_index=True) if named else pd.DataFrame(columns=COLUMNS)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for each kind, with the rows of all of that kind, each once."""
    kinds: dict[str, Finding] = {}
    for new in findings:
        old = kinds.get(new.kind)
        kinds[new.kind] = new if old is None else _together(old, new)
    return list(kinds.values())


def _together(old: Finding, new: Finding) -> Finding:
    rows = pd.concat([old.rows, new.rows]).drop_duplicates(["split", "source", "line"])
    return replace(old, rows=rows.reset_index(drop=True), dropped=old.dropped + new.dropped)
