"""The table of data checks: what is registered there runs, can be dropped, and is in the documentation."""

import pandas as pd
import pytest

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import Suspects, suspects
from bert_textclassification.training.data_checks import CHECKS, DataCheck
from bert_textclassification.training.data_quality import encoding
from bert_textclassification.training.data_quality.cleaning import check_and_clean, check_function
from tests.conftest import ROOT


@pytest.mark.parametrize("name", CHECKS)
def test_a_registered_check_is_a_setting_and_documented(name):
    assert callable(check_function(name))
    assert TrainingConfig(data="a.csv", drop_issues=(name,)).drop_issues == (name,)
    assert name in (TrainingConfig.model_fields["drop_issues"].description or "")
    assert name in (ROOT / "docs/reference/training-settings.md").read_text()


def test_one_line_adds_a_check(monkeypatch):
    monkeypatch.setitem(CHECKS, "shouting", DataCheck("encoding:shouting"))
    monkeypatch.setattr(encoding, "shouting", _shouting, raising=False)
    rows = pd.DataFrame({"text": ["HELP", "help", "HI", "hi"], "label": ["yes", "yes", "no", "no"]})
    rows = rows.assign(source="a.csv", line=range(4), split=["train", "train", "train", "test"])
    kept, issues = check_and_clean(rows, CHECKS, TrainingConfig(data="a.csv", drop_issues=()))
    assert "shouting" in [issue.kind for issue in issues]
    assert len(kept) == len(rows)
    config = TrainingConfig(data="a.csv", drop_issues=("shouting",))
    with pytest.raises(DataError, match="No row of train labelled 'no' is left without shouting"):
        check_and_clean(rows, ["shouting"], config)


def _shouting(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    shouting = rows[rows["text"].str.isupper()]
    return suspects("Texts shout.", shouting.assign(note=""))
