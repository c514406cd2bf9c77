"""Batches by length: every row once, little padding, and an order determined by seed and epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_textclassification.training.fine_tuning.samplers import ByLength, padding_share, rows_by_length

LENGTHS = np.random.default_rng(0).geometric(0.05, 3000) + 2


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(3, 128), min_size=1, max_size=300), batch_size=st.integers(1, 40))
def test_every_row_comes_once(lengths, batch_size):
    assert sorted(rows_by_length(lengths, batch_size, seed=1, epoch=2)) == list(range(len(lengths)))


def test_only_seed_and_epoch_determine_the_order():
    epoch = 0
    sampler = ByLength(LENGTHS, 32, seed=5, epoch=lambda: epoch)
    first = list(sampler)
    np.random.default_rng().random()
    assert list(sampler) == first
    epoch = 1
    assert list(sampler) != first
    assert list(ByLength(LENGTHS, 32, seed=6, epoch=lambda: 0)) != first


def test_there_is_far_less_padding_than_in_random_order():
    order = np.random.default_rng(0).permutation(LENGTHS)[: len(LENGTHS) // 32 * 32].reshape(-1, 32)
    random = 1 - order.sum() / (order.max(axis=1) * 32).sum()
    assert padding_share(LENGTHS, 32, seed=0) < random / 5


def test_long_and_short_batches_are_shuffled():
    batches = LENGTHS[rows_by_length(LENGTHS, 32, seed=0, epoch=0)][: 3000 // 32 * 32].reshape(-1, 32).mean(axis=1)
    assert abs(np.corrcoef(batches, np.arange(len(batches)))[0, 1]) < 0.3


@pytest.mark.parametrize("hosts", [2, 4])
def test_the_batches_of_several_hosts_make_up_those_of_one(hosts):
    rows = rows_by_length(LENGTHS, 32, seed=0, epoch=0)[: 3000 // 32 * 32]
    spread = LENGTHS[rows].reshape(-1, hosts, 32 // hosts).max(axis=2)
    assert np.mean(spread.max(axis=1) - spread.min(axis=1)) < 3  # hosts have similar amounts of work
