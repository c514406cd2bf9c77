"""The model card: what users named cannot change its structure."""

import pytest

from bert_textclassification.artifact.manifest import DataFinding, Manifest
from bert_textclassification.training.export.model_card import model_card

HOSTILE = "a | b\n# `c` <b>d</b>"


@pytest.fixture
def manifest(tiny_artifact) -> Manifest:
    finding = DataFinding(kind="conflict", count=2, dropped=0, message=f"look at the column {HOSTILE}")
    return tiny_artifact.manifest.model_copy(
        update={
            "labels": ("no", HOSTILE),
            "findings": (finding,),
            "warnings": [f"few rows of {HOSTILE}", "a second warning"],
            "not_built": {"int8": f"The engine says {HOSTILE}"},
            "seeds": {"test_accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "test_loss": {"value": 1.0}},
            "training": tiny_artifact.manifest.training | {"num_seeds": 3},
        }
    )


def test_names_of_users_add_no_lines_columns_or_html(manifest):
    lines = model_card(manifest).splitlines()
    code = "`` a | b # `c` <b>d</b> ``"
    assert [line for line in lines if line.startswith("# ")] == ["# Model card"]
    assert f" tokens as {code} or `no`. Created " in model_card(manifest)
    assert f"| split | rows | labelled {code.replace('|', chr(92) + '|')} |" in lines
    assert "| conflict | 2 | 0 | look at the column a \\| b # `c` <b>d</b> |" in lines
    assert "- `int8` was not built. The engine says a | b # `c` <b>d</b>" in lines


def test_tables_are_whole(manifest):
    for table in model_card(manifest).split("\n\n"):
        rows = [line.replace("\\|", "") for line in table.splitlines() if line.startswith("|")]
        assert len(rows) in (0, len(table.splitlines())), table
        assert len({row.count("|") for row in rows}) <= 1, table


def test_warnings_are_one_quotation_and_losses_no_percentages(manifest):
    card = model_card(manifest)
    assert "\n> **Warning.** few rows of a | b # `c` <b>d</b>\n>\n> **Warning.** a second warning\n" in card
    assert "FP32 over 3 seeds" in card
    assert "| test accuracy | 90.00 (80.00–95.00) |" in card
    assert "test loss" not in card
