"""What is doubtful in the data: the rows to look at, and one line on what to do about them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

COLUMNS = ["split", "source", "line", "label", "text", "note"]


class Suspects(NamedTuple):
    """What a check finds.

    Attributes:
        message: what is wrong and what to do, one line.
        rows: the suspicious rows with COLUMNS, worst first where they have an order; `note` says why each is one.
    """

    message: str
    rows: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Issue:
    """What a check has found.

    Attributes:
        kind: the name of the check in `data_checks.CHECKS`.
        message: what is wrong and what to do, one line.
        rows: the suspicious rows with COLUMNS, worst first where they have an order; `note` says why each is one.
        dropped: how many of them were dropped from train.
    """

    kind: str
    message: str
    rows: pd.DataFrame
    dropped: int = 0

    @property
    def count(self) -> int:
        """The number of suspicious rows."""
        return len(self.rows)


def suspects(message: str, rows: pd.DataFrame) -> Suspects | None:
    """Return the suspects with COLUMNS alone, or None where there are no rows."""
    return None if rows.empty else Suspects(message, rows[COLUMNS].reset_index(drop=True))


def merge(issues: Iterable[Issue]) -> list[Issue]:
    """Return one issue of each kind, with the rows of all of that kind, each once."""
    by_kind: dict[str, Issue] = {}
    for issue in issues:
        earlier = by_kind.get(issue.kind)
        by_kind[issue.kind] = issue if earlier is None else _together(earlier, issue)
    return list(by_kind.values())


def _together(first: Issue, second: Issue) -> Issue:
    rows = pd.concat([first.rows, second.rows]).drop_duplicates(["split", "source", "line"])
    return replace(first, rows=rows.reset_index(drop=True), dropped=first.dropped + second.dropped)
