"""Attributions: they sum up to what the model says, belong to whole words of the text, and are drawn safely."""

import time

import pytest

pytest.importorskip("captum")

from bert_textclassification.training.evaluation.explain import Attribution, Explainer, Word, coloured, explained

LABELS = ("routine", "escalate")
TEXT = "Somebody is emptying my account, naïve café: <b>help</b> me!"


@pytest.fixture(scope="module")
def explain(tiny_fine_tuned):
    return Explainer(tiny_fine_tuned)


def test_words_sum_up_to_the_log_odds(explain):
    found = explain(TEXT)
    assert found.converged
    assert 0 < found.start < 1
    assert sum(word.value for word in found.words) == pytest.approx(found.change, abs=0.06 * max(1, abs(found.change)))


def test_words_are_pieces_of_the_text_as_it_was_written(explain):
    found = explain(TEXT)
    words = [TEXT[word.start : word.end] for word in found.words]
    assert words[:5] == ["Somebody", "is", "emptying", "my", "account"]
    assert "".join(words) == TEXT.replace(" ", "")


def test_the_same_text_gets_the_same_attribution(explain):
    assert explain(TEXT) == explain(TEXT)


def test_a_text_that_is_cut_is_explained_as_far_as_it_is_read(explain):
    text = "help " * 300
    found = explain(text)
    assert found.words[-1].end < len(text)
    assert 'title="not read"' in coloured([found], LABELS)


def test_text_is_escaped_and_each_word_has_its_value(explain):
    page = coloured([explain(TEXT)], LABELS, ["<i>"])
    assert "<b>help" not in page
    assert "&lt;i&gt;, escalate 0." in page
    assert page.count("title=") == len(explain(TEXT).words)


def test_orange_speaks_for_the_positive_label_and_blue_against():
    found = Attribution("yes no", 0.5, 0.3, [Word(0, 3, 2.0), Word(4, 6, -1.0)], change=1.0, error=0.0)
    page = coloured([found], LABELS)
    assert 'background: rgba(234, 88, 12, 0.75); border-radius: 3px" title="+2.00">yes' in page
    assert "background: rgba(37, 99, 235, 0.38)" in page


def test_an_integral_that_does_not_converge_is_said():
    found = Attribution("yes", 0.5, 0.3, [Word(0, 3, 2.0)], change=1.0, error=1.0)
    assert "do not compare" in coloured([found], LABELS)


def test_mistakes_are_explained_with_their_labels(tiny_fine_tuned, tiny_splits):
    page = explained(tiny_fine_tuned, tiny_splits.test, tiny_splits.labels, rows=2)
    assert page.count("labelled ") == 2


def test_a_text_takes_seconds_at_most(explain):
    started = time.perf_counter()
    explain(TEXT)
    assert time.perf_counter() - started < 10  # a tenth of a second on a usual machine


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
