"""Attributions sum to the log-odds, belong to whole words of the text, and are escaped in HTML."""

import time

import pytest

pytest.importorskip("captum")

from bert_textclassification.training.evaluation.explain import Attribution, Explainer, Word, explain_mistakes, to_html

LABELS = ("routine", "escalate")
TEXT = "Somebody is emptying my account, naïve café: <b>help</b> me!"


@pytest.fixture(scope="module")
def explain(tiny_fine_tuned):
    return Explainer(tiny_fine_tuned)


def test_words_sum_up_to_the_log_odds(explain):
    attribution = explain(TEXT)
    assert attribution.converged
    assert 0 < attribution.start < 1
    assert sum(word.value for word in attribution.words) == pytest.approx(
        attribution.change, abs=0.06 * max(1, abs(attribution.change))
    )


def test_words_are_pieces_of_the_text_as_it_was_written(explain):
    attribution = explain(TEXT)
    words = [TEXT[word.start : word.end] for word in attribution.words]
    assert words[:5] == ["Somebody", "is", "emptying", "my", "account"]
    assert "".join(words) == TEXT.replace(" ", "")


def test_the_same_text_gets_the_same_attribution(explain):
    assert explain(TEXT) == explain(TEXT)


def test_a_truncated_text_is_explained_up_to_the_maximum_length(explain):
    text = "help " * 300
    attribution = explain(text)
    assert attribution.words[-1].end < len(text)
    assert 'title="not read"' in to_html([attribution], LABELS)


def test_text_is_escaped_and_each_word_has_its_value(explain):
    page = to_html([explain(TEXT)], LABELS, ["<i>"])
    assert "<b>help" not in page
    assert "&lt;i&gt;, escalate 0." in page
    assert page.count("title=") == len(explain(TEXT).words)


def test_orange_is_evidence_for_the_positive_label_and_blue_against():
    attribution = Attribution("yes no", 0.5, 0.3, [Word(0, 3, 2.0), Word(4, 6, -1.0)], change=1.0, error=0.0)
    page = to_html([attribution], LABELS)
    assert 'background: rgba(234, 88, 12, 0.75); border-radius: 3px" title="+2.00">yes' in page
    assert "background: rgba(37, 99, 235, 0.38)" in page


def test_an_integral_that_does_not_converge_is_marked():
    attribution = Attribution("yes", 0.5, 0.3, [Word(0, 3, 2.0)], change=1.0, error=1.0)
    assert "do not compare" in to_html([attribution], LABELS)


def test_mistakes_are_explained_with_their_labels(tiny_fine_tuned, tiny_splits):
    page = explain_mistakes(tiny_fine_tuned, tiny_splits.test, tiny_splits.labels, rows=2)
    assert page.count("labelled ") == 2


def test_a_text_takes_seconds_at_most(explain):
    started = time.perf_counter()
    explain(TEXT)
    assert time.perf_counter() - started < 10  # about 0.1 s on a usual machine


@pytest.mark.parametrize("kind", ["DistilBert", "Roberta"])
def test_other_encoders_are_explained_too(kind, tiny_fine_tuned, tiny_base, tmp_path):
    import transformers

    from bert_textclassification.training.modeling.base_models import BaseModel
    from bert_textclassification.training.modeling.classifier import save_classifier
    from bert_textclassification.training.modeling.fine_tuned import FineTuned
    from bert_textclassification.training.modeling.record import TRAINING_RECORD

    sizes = {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128} if kind == "DistilBert" else {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(vocab_size=800, **sizes)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / "base")
    model = BaseModel(kind, str(tmp_path / "base")).classifier(dropout=0)
    save_classifier(model, tiny_fine_tuned.tokenizer(), tmp_path / "tuned")
    (tmp_path / "tuned" / TRAINING_RECORD).write_bytes((tiny_fine_tuned.folder / TRAINING_RECORD).read_bytes())
    assert Explainer(FineTuned.load(tmp_path / "tuned"))(TEXT).converged
