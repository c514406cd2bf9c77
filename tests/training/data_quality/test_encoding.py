"""Damaged texts are found and told from sound ones that look like them."""

import pandas as pd
import pytest

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.rows import join_splits
from bert_textclassification.training.data_quality.encoding import html_remains, markup, wrong_encoding, wrongly_decoded

CONFIG = TrainingConfig(data="a.csv")
SOUND = [
    "Grüße aus Zürich – „schön“…",
    "CAFÉ… AMANHÃ… “JÁ”, É»",
    "ÇÃO não é à toa; naïve façade; 5 £, 20 °C",
    "“curly” ‘quotes’ — and dashes…",
    "贸易和经济, 这部电影",
    "猫がすき",
    "Это хорошо",
    "🚒 family 👩\u200d👩\u200d👧",
    "می\u200cخواهم",
    "ภาษา\u200bไทย",
    "\u200fעברית\u200e (RTL)",
    "soft\u00adhyphen and word\u2060joiner",
    "naïve » ¿qué?",
    "tabs\tand\r\nlines\xa0",
]


@pytest.mark.parametrize("sound", SOUND)
def test_sound_texts_are_left_alone(sound):
    assert wrongly_decoded(sound) == ""


@pytest.mark.parametrize("codec", ["cp1252", "latin-1"])
@pytest.mark.parametrize("meant", ["café", "it’s", "não é", "NÃO", "10 £", "naïve – “so”", "привет", "🚒"])
def test_utf8_that_was_read_as_a_western_encoding_is_found(meant, codec):
    assert "should be" in wrongly_decoded(f"a {meant} b".encode().decode(codec, errors="ignore"))


@pytest.mark.parametrize(("shown", "meant"), [("茅 aquele", "é"), ("considera莽茫o", "çã"), ("s贸 pra", "ó")])
def test_utf8_that_was_read_as_gbk_is_found(shown, meant):
    assert f"should be {meant}:" in wrongly_decoded(shown)


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        *[("lost \ufffd", "U+FFFD"), ("that\x92s", "U+0092"), ("put \x08a", "U+0008"), ("a\x00b", "U+0000")],
        *[("\ufeffa", "U+FEFF"), ("a\ufeffb", "U+FEFF"), ("\ufffea", "U+FFFE")],
        *[("ï»¿a", "should be \ufeff"), ("lost ï¿½", "should be \ufffd")],
    ],
)
def test_lost_and_control_characters_are_found(text, telling):
    assert telling in wrongly_decoded(text)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a &amp; b", "&amp;"),
        ("&lt;#&gt;", "&lt;"),
        ("&#345;eka", "&#345;"),
        ("one<br />two", "<br />"),
        ('<a href="x">y</a>', '<a href="x">'),
    ],
)
def test_entities_and_tags_are_found(text, first):
    assert markup(text) == first


@pytest.mark.parametrize("text", ["AT&T; R&D", "a < b > c", "i <3 u", "<name> says &nothing;", "x?a=1&lt=2"])
def test_what_only_looks_like_html_is_left_alone(text):
    assert markup(text) == ""


@pytest.mark.parametrize(("check", "text"), [(wrong_encoding, "cafÃ©"), (html_remains, "a<br>b")])
def test_damaged_rows_are_found_in_every_split(check, text):
    split = pd.DataFrame({"text": ["sound", text], "label": "x", "source": "a.csv", "line": [2, 3]})
    rows = check(join_splits({"train": split, "test": split}), CONFIG).rows
    assert rows[["split", "line", "text"]].to_numpy().tolist() == [["train", 3, text], ["test", 3, text]]


@pytest.mark.parametrize("check", [wrong_encoding, html_remains])
def test_sound_data_have_no_issue(check):
    rows = pd.DataFrame({"text": SOUND, "label": "x", "source": "a", "line": 1, "split": "train"})
    assert check(rows, CONFIG) is None
