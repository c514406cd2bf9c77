"""A run first prints its decisions and the settings that change nothing."""

import pytest

from bert_textclassification.training.automatic_choices import decisions


def _said(tiny_config, tiny_splits, **settings):
    return " ".join(decisions(tiny_config.model_copy(update=settings), tiny_splits))


def test_settings_that_decide_something_are_not_told(tiny_config, tiny_splits):
    assert "nothing" not in _said(tiny_config, tiny_splits)
    assert "nothing" not in _said(tiny_config, tiny_splits, threshold_objective="cost", false_negative_cost=5)
    assert "nothing" not in _said(tiny_config, tiny_splits, review_cost=0.1, false_positive_cost=5)


@pytest.mark.parametrize("name", ["false_positive_cost", "false_negative_cost"])
def test_costs_that_decide_nothing_are_told(tiny_config, tiny_splits, name):
    said = _said(tiny_config, tiny_splits, **{name: 5})
    assert f"{name} changes nothing: threshold_objective is accuracy and there is no review_cost; set" in said


def test_a_review_cost_without_a_review_band_is_told(tiny_config, tiny_splits):
    assert "review_cost 0.6 changes nothing: a review costs" in _said(tiny_config, tiny_splits, review_cost=0.6)
