"""The output cache keeps the most recently used outputs, up to a bound, and no text."""

import threading
import time
from random import SystemRandom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_textclassification.serving.cache import OutputCache

CHANCE = SystemRandom()


def filled(size, *keys):
    cache = OutputCache(size)
    for key in keys:
        cache.put(key, f"answer to {key.decode()}")
    return cache


def kept(cache, *keys):
    return [key for key in keys if cache.get(key) is not None]


def test_an_answer_is_found_under_its_key_and_no_other():
    cache = filled(10, b"a", b"b")
    assert (cache.get(b"a"), cache.get(b"b"), cache.get(b"c")) == ("answer to a", "answer to b", None)


def test_the_answer_that_was_kept_first_leaves_first():
    assert kept(filled(2, b"a", b"b", b"c"), b"a", b"b", b"c") == [b"b", b"c"]


def test_an_answer_that_is_asked_for_stays_longer():
    cache = filled(2, b"a", b"b")
    cache.get(b"a")
    cache.put(b"c", "answer to c")
    assert kept(cache, b"a", b"b", b"c") == [b"a", b"c"]


def test_an_answer_that_is_kept_again_is_replaced_and_stays_longer():
    cache = filled(2, b"a", b"b")
    cache.put(b"a", "another")
    cache.put(b"c", "answer to c")
    assert (cache.get(b"a"), cache.get(b"b"), len(cache)) == ("another", None, 2)


def test_a_cache_of_no_texts_keeps_nothing():
    cache = filled(0, b"a", b"b")
    assert (len(cache), cache.get(b"a"), cache.get(b"b")) == (0, None, None)


@given(
    size=st.integers(0, 4),
    steps=st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"]), st.none() | st.integers())),
)
def test_it_is_a_dict_that_forgets_what_was_used_longest_ago(size, steps):
    cache, model = OutputCache(size), {}
    for key, put in steps:
        known = model.pop(key, None)
        if put is None:
            assert cache.get(key) == known
        else:
            cache.put(key, put)
        if (answer := known if put is None else put) is not None:
            model[key] = answer
        while len(model) > size:
            del model[next(iter(model))]
        assert len(cache) == len(model)
    assert {key: cache.get(key) for key in model} == model


@given(
    first=st.tuples(st.text(), st.booleans(), st.text(max_size=3)),
    second=st.tuples(st.text(), st.booleans(), st.text(max_size=3)),
)
def test_keys_are_equal_just_where_text_and_options_are(first, second):
    assert (OutputCache.key(*first) == OutputCache.key(*second)) == (first == second)
    assert OutputCache.key(*first) == OutputCache.key(*first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("hello", True), ("hello", False)),
        (("hello",), ("hello", None)),
        (("a\0b",), ("b", "a")),
        (("hello", "a", "b"), ("hello", "ab")),
        (("hello",), ("hello ",)),
        (("é",), ("e\u0301",)),
    ],
)
def test_texts_and_options_do_not_run_together_in_a_key(first, second):
    assert OutputCache.key(*first) != OutputCache.key(*second)


def test_a_key_is_a_digest_of_16_bytes_and_the_text_is_nowhere():
    cache = OutputCache(10)
    key = OutputCache.key("the boiler is leaking", False)
    cache.put(key, "urgent")
    assert len(key) == 16
    assert "boiler" not in repr(vars(cache))


class Key(bytes):
    """A key at which Python switches threads in the middle of what the cache does with it."""

    def __hash__(self):
        time.sleep(0)
        return super().__hash__()


def test_threads_share_it_within_its_bound_and_without_mixing_answers():
    cache, wrong = OutputCache(2), []

    def use():
        for number in CHANCE.choices(range(4), k=300):
            key = Key(b"%d" % number)
            wrong.extend(answer for answer in [cache.get(key)] if answer not in (None, number))
            cache.put(key, number)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(cache) == 2
