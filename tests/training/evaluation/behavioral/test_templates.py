"""Templates: all combinations, the changes of a text, and errors in placeholders."""

import numpy as np
import pytest

from bert_textclassification.training.evaluation.behavioral.templates import (
    CHANGES,
    fill_templates,
    placeholder_problem,
)

LISTS = {"name": ["Ann", "Bob", "Cy"], "thing": ["card", "lift"]}


def rng():
    return np.random.default_rng(0)


def changed(name, text):
    return CHANGES[name](text, LISTS, rng())


def test_every_combination_is_filled_in():
    found = [text for (text,) in fill_templates(["{name} has a {thing}"], LISTS, 10, rng())]
    assert sorted(found)[0] == "Ann has a card"
    assert len(found) == len(set(found)) == 6


def test_of_many_combinations_a_reproducible_sample_is_drawn():
    lists = {"text": [f"text {n}" for n in range(10_000)], **LISTS}
    drawn = [list(fill_templates(["{text} {name}"], lists, 50, rng())) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 50


def test_a_placeholder_is_the_same_entry_in_both_texts_and_other_is_not():
    for before, same, other in fill_templates(["{name}", "{name}", "{name:other}"], LISTS, 10, rng()):
        assert before == same != other in LISTS["name"]


def test_a_template_without_placeholders_is_one_text():
    assert list(fill_templates(["braces {{ }}"], LISTS, 10, rng())) == [("braces { }",)]


def test_a_typo_swaps_two_letters_inside_a_word():
    text = "the film is wonderful"
    found = changed("typo", text)
    assert found != text
    assert sorted(found) == sorted(text)
    assert [word[0] + word[-1] for word in found.split()] == [word[0] + word[-1] for word in text.split()]


@pytest.mark.parametrize(
    ("change", "text", "expected"),
    [
        ("typo", "a bc 42 aaaa", "a bc 42 aaaa"),
        ("capitals", "Straße", "STRASSE"),
        ("lower", "ABC", "abc"),
        ("spaces", "a b", "  a  b  "),
        ("full_stop", "Really ?!", "Really"),
        ("full_stop", "Really", "Really."),
        ("full_stop", "...", "..."),
        ("renamed", "Anna and Annabel", "Anna and Annabel"),
    ],
)
def test_changes(change, text, expected):
    assert changed(change, text) == expected


def test_a_name_is_renamed_as_a_whole_word():
    assert changed("renamed", "Ann's card, Annex B") in {"Bob's card, Annex B", "Cy's card, Annex B"}


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{nam} x", "has the placeholder {nam}, but there is no list 'nam'; did you mean 'name'?"),
        ("{name:typoo}", "has the unknown change 'typoo'; did you mean 'typo'?"),
        ("{} x", "has the placeholder {}, but there is no list ''; known are text, name, thing"),
        ("{name", "has an unmatched brace; double the braces that are part of the text"),
        ("a } b", "has an unmatched brace; double the braces that are part of the text"),
    ],
)
def test_a_wrong_placeholder_is_explained(template, problem):
    assert placeholder_problem(template, LISTS) == problem


def test_another_entry_needs_two():
    assert "has only one" in placeholder_problem("{name:other}", {"name": ["Ann", "Ann"]})


def test_right_templates_have_no_problem():
    templates = ("{text:typo}", "{name:other} {thing:capitals}", "plain")
    assert [placeholder_problem(template, LISTS) for template in templates] == [None] * 3
