"""Sequences of bits and real numbers: as batches, cut into rows, split, and scored step by step."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zf_pyro import SequenceBatch
from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.sequences import Sequences
from zf_pyro.data.splits import SPLITS, SplitSettings, assign, ranking, split_named
from zf_pyro.errors import InputError

LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def pieces_of(lengths, width=2):
    """Arrays (n, D) of which no two frames are the same, none of zeros."""
    total = sum(lengths)
    frames = 1.0 + np.arange(total * width).reshape(total, width)
    return np.split(frames, np.cumsum(lengths)[:-1])


def assert_is_batch_of(batch, expected, observed):
    """`expected` are arrays u_1, x_1, .., x_n."""
    steps, width = max(len(each) for each in expected) - 1, expected[0].shape[1]
    assert batch.inputs.shape == batch.targets.shape == (steps, len(expected), width)
    assert batch.mask.shape == (steps, len(expected))
    assert batch.mask.dtype == torch.bool
    assert batch.inputs.dtype == batch.targets.dtype == torch.get_default_dtype()
    assert batch.first_input_is_data is observed
    assert batch.lengths.tolist() == [len(each) - 1 for each in expected]
    for b, each in enumerate(expected):
        n = len(each) - 1
        assert batch.mask[:n, b].all()
        np.testing.assert_array_equal(batch.inputs[:n, b], each[:-1])
        np.testing.assert_array_equal(batch.targets[:n, b], each[1:])
    assert not batch.inputs[~batch.mask].any()
    assert not batch.targets[~batch.mask].any()


def after_zero(piece):
    return np.concatenate([np.zeros_like(piece[:1]), piece])


# Batches of a user's own sequences


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 3), st.booleans())
def test_from_sequences(lengths, width, condition):
    pieces = pieces_of([n + condition for n in lengths], width)
    batch = SequenceBatch.from_sequences(pieces, condition_on_first=condition)
    assert_is_batch_of(batch, pieces if condition else [after_zero(piece) for piece in pieces], condition)
    assert (batch.num_steps, batch.num_sequences) == (max(lengths), len(lengths))


def read_only(array):
    array.flags.writeable = False
    return array


VALUES = [[3.0, 1.0], [0.0, 2.0], [5.0, 4.0]]


@pytest.mark.parametrize(
    "sequence",
    [
        VALUES,
        tuple(map(tuple, VALUES)),
        np.array(VALUES),
        np.array(VALUES, ">f4"),
        np.array(VALUES, np.longdouble),
        np.array(VALUES, np.uint16),
        np.array(VALUES[::-1])[::-1],
        np.array(VALUES).T.copy().T,
        read_only(np.array(VALUES, np.float32)),
        torch.tensor(VALUES, dtype=torch.float64),
        torch.tensor(VALUES).to(torch.bfloat16),
        [torch.tensor(frame) for frame in VALUES],
    ],
)
def test_any_kind_of_array_is_a_sequence(sequence):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = SequenceBatch.from_sequences([sequence])
    assert_is_batch_of(batch, [after_zero(np.array(VALUES))], False)


def test_one_number_a_step_and_bits():
    batch = SequenceBatch.from_sequences([np.array([True, False, True]), [False]])
    assert_is_batch_of(batch, [np.array([[0], [1], [0], [1]]), np.zeros((2, 1))], False)


def test_one_array_of_many_sequences():
    many = np.arange(24.0).reshape(3, 4, 2)
    for given_as in (many, torch.from_numpy(many)):
        assert_is_batch_of(SequenceBatch.from_sequences(given_as, condition_on_first=True), list(many), True)


def test_the_default_type_of_real_numbers_is_kept_to():
    torch.set_default_dtype(torch.float64)
    try:
        assert_is_batch_of(SequenceBatch.from_sequences([[0.1]]), [np.array([[0.0], [0.1]])], False)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("condition", [False, True])
def test_a_batch_is_a_copy(condition):
    array = np.ones((3, 2), np.float32)
    for sequence in (array, torch.from_numpy(array)):
        batch = SequenceBatch.from_sequences([sequence], condition_on_first=condition)
        array[:] = 7
        assert batch.targets.max() == 1
        assert batch.inputs.max() == 1
        array[:] = 1


@pytest.mark.parametrize(
    ("sequences", "condition", "said"),
    [
        ([], False, "no sequence"),
        (np.zeros((0, 3, 2)), False, "no sequence"),
        ([[1.0], []], False, r"sequence 1 has the shape \(0, 1\), not \(1 or more, 1\)"),
        ([[1.0, 2.0], [1.0]], True, r"sequence 1 has the shape \(1, 1\), not \(2 or more, 1\)"),
        ([np.ones((3, 2)), np.ones((3, 1))], False, r"sequence 1 has the shape \(3, 1\), not \(1 or more, 2\)"),
        ([np.ones((3, 0))], False, r"sequence 0 has the shape \(3, 0\), not \(n,\) or \(n, D\)"),
        ([np.ones((3, 2, 1))], False, r"sequence 0 has the shape \(3, 2, 1\)"),
        ([1.0], False, r"sequence 0 has the shape \(\)"),
        ([[1.0], [math.nan]], False, "sequence 1 holds a number that is not finite"),
        ([[1.0, -math.inf]], False, "sequence 0 holds a number that is not finite"),
        ([np.array([1e300])], False, "sequence 0 holds a number that is not finite"),
        (["abc"], False, "sequence 0 holds <U3, not bits, integers or real numbers"),
        ([None], False, "sequence 0 holds object"),
        ([np.array([1j])], False, "sequence 0 holds complex128"),
        ([[[1.0, 2.0], [3.0]]], False, "inhomogeneous"),
    ],
)
def test_wrong_sequences(sequences, condition, said):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=said) as caught:
        SequenceBatch.from_sequences(sequences, condition_on_first=condition)
    assert len(str(caught.value).splitlines()) == 1


# Sequences as parts of a long array


@settings(deadline=None)
@given(LENGTHS, st.booleans(), st.integers(0, 8), st.randoms(use_true_random=False))
def test_sequences(lengths, condition, chunk_length, random):
    pieces = pieces_of([n + condition for n in lengths])
    sequences = Sequences.of(pieces, condition_on_first=condition, chunk_length=chunk_length)
    expected = []
    for piece in pieces:
        whole = piece if condition else after_zero(piece)
        step = chunk_length or len(whole)
        expected += [whole[i : i + step + 1] for i in range(0, len(whole) - 1, step)]
    assert len(sequences) == len(expected)
    assert sequences.lengths.tolist() == [len(each) - 1 for each in expected]
    chosen = np.array(random.choices(range(len(expected)), k=4))
    assert_is_batch_of(sequences.batch(chosen), [expected[i] for i in chosen], condition)
    np.testing.assert_array_equal(sequences.scored(chosen), np.concatenate([expected[i][1:] for i in chosen]))
    everything = sequences.scored(np.arange(len(sequences)))
    np.testing.assert_array_equal(everything, np.concatenate([piece[int(condition) :] for piece in pieces]))


def test_a_row_within_a_piece_begins_with_the_frame_before_it():
    piece = 1.0 + np.arange(7.0)[:, None]
    sequences = Sequences.of([piece, 100 * piece], chunk_length=3)
    assert sequences.lengths.tolist() == [3, 3, 1, 3, 3, 1]
    batch = sequences.batch(np.arange(6))
    assert batch.inputs[0, :, 0].tolist() == [0, 3, 6, 0, 300, 600]
    assert batch.targets[2, :, 0].tolist() == [3, 6, 0, 300, 600, 0]
    assert not batch.first_input_is_data


def test_whether_u_1_is_observed_does_not_depend_on_the_batch():
    sequences = Sequences.of(pieces_of([7]), chunk_length=3)
    assert not sequences.batch(np.array([1, 2])).first_input_is_data


def test_bits_stay_small_and_become_reals_in_a_batch():
    sequences = Sequences.of([np.array([[1, 0], [0, 1]], np.uint8)])
    assert sequences.frames.dtype == sequences.scored(np.array([0])).dtype == np.uint8
    assert sequences.batch(np.array([0])).targets.dtype == torch.float32
    assert sequences.scored(np.array([], int)).shape == (0, 2)
    assert sequences.of_epoch(3, 4) is sequences


# Splits


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("train", "train"), ("Training_3", "train"), ("train3", "train"), ("train/3", "train"), ("TRAIN.a", "train")),
        *(("valid", "valid"), ("val_3", "valid"), ("validation", "valid"), ("dev-0", "valid"), ("test", "test")),
        *(("trainer", None), ("tests", None), ("testing", None), ("evaluation", None), ("valley", None)),
        *(("x_train", None), ("3_train", None), ("_test", None), ("", None), ("été", None)),
    ],
)
def test_the_split_that_a_name_begins_with(name, split):
    assert split_named(name) == split


@given(st.lists(st.binary(max_size=3), unique=True), st.integers(0, 2**40), st.randoms(use_true_random=False))
def test_ranking_does_not_depend_on_the_order(contents, seed, random):
    shuffled = random.sample(contents, len(contents))
    ranked = [contents[i] for i in ranking(contents, seed)]
    assert ranked == [shuffled[i] for i in ranking(shuffled, seed)]
    assert sorted(ranked) == sorted(contents)


def test_another_seed_is_another_ranking():
    contents = [bytes([i]) for i in range(100)]
    assert ranking(contents, 1) != ranking(contents, 2)
    assert ranking([b"a", b"a", b"a"], 1) == [0, 1, 2]


FRACTION = st.floats(0.001, 0.998)


@given(
    st.lists(st.sampled_from([None, "train", "valid", "test"]), max_size=40),
    st.tuples(FRACTION, FRACTION).filter(lambda pair: sum(pair) < 1),
)
def test_assign(official, fractions):
    settings = SplitSettings(valid_fraction=fractions[0], test_fraction=fractions[1])
    given_to = {name: [i for i, split in enumerate(official) if split == name] for name in SPLITS}
    named = any(given_to.values())
    free = len(official) - len(given_to["valid"]) - len(given_to["test"])
    needed = 1 + (not given_to["valid"]) + (not named)
    if free < needed or (named and not given_to["test"]):
        with pytest.raises(InputError, match=r"^here: \d+ .*needed") as caught:
            assign(official, settings, "here", "birds")
        assert "birds" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        return
    members = assign(official, settings, "here", "birds")
    assert list(members) == list(SPLITS)
    assert sorted(i for places in members.values() for i in places) == list(range(len(official)))
    assert all(places for places in members.values())
    assert all(a < b for places in members.values() for a, b in pairwise(places))
    for name in ("valid", "test"):
        if given_to[name]:
            assert members[name] == given_to[name]


def test_fractions_are_of_the_whole_or_of_what_is_outside_the_test():
    settings = SplitSettings(valid_fraction=0.1, test_fraction=0.2)
    sizes = [len(places) for places in assign([None] * 50, settings, "here").values()]
    assert sizes == [35, 5, 10]
    sizes = [len(places) for places in assign(["test"] * 20 + ["train"] * 30, settings, "here").values()]
    assert sizes == [27, 3, 20]
    members = assign([None] * 50, settings, "here")
    assert members["test"] == list(range(10))
    assert members["valid"] == list(range(10, 15))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"valid_fraction": 0.0}, "valid_fraction = 0.0: it is to lie between 0 and 1"),
        ({"test_fraction": math.nan}, "test_fraction = nan"),
        ({"valid_fraction": 0.6, "test_fraction": 0.4}, "nothing is left for training; lower one"),
        ({"split_seed": -1}, "split_seed = -1: it is to be at least 0"),
    ],
)
def test_wrong_settings(fields, said):
    with pytest.raises(InputError) as caught:
        SplitSettings(**fields)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# The score of independent steps


def corpus_of(observation, train, test):
    splits = {"train": Sequences.of(train), "valid": Sequences.of(test), "test": Sequences.of(test)}
    return Corpus(observation=observation, **splits, settings=SplitSettings(), source="here")


def test_the_marginal_score_of_bits():
    """Ones in training: 2 and 0 of 3, so that their probabilities are 3/5 and 1/5."""
    train = [np.array([[1, 0], [1, 0]], np.uint8), np.array([[0, 0]], np.uint8)]
    test = [np.array([[1, 1]], np.uint8), np.array([[1, 1], [0, 0], [0, 0]], np.uint8), np.array([[0, 1]], np.uint8)]
    corpus = corpus_of(Observation("bernoulli", 2), train, test)
    first, last = math.log(3 / 5 * 1 / 5), math.log(2 / 5 * 1 / 5)
    assert corpus.marginal_score(np.array([0])) == pytest.approx(first)
    assert corpus.marginal_score(np.array([2])) == pytest.approx(last)
    middle = first + 2 * math.log(2 / 5 * 4 / 5)
    assert corpus.marginal_score(np.arange(3)) == pytest.approx((first + middle + last) / 3)


def test_the_marginal_score_of_pixels():
    """Images of 2 x 2; each pixel has its own frequency: 4/5, 3/5, 2/5 and 1/5."""
    train = [np.array(image, np.uint8)[:, None] for image in ([1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0])]
    test = [np.array(image, np.uint8)[:, None] for image in ([1, 1, 1, 1], [0, 1, 0, 1])]
    corpus = corpus_of(Observation("bernoulli", 1, sample_steps=4, rows=2), train, test)
    one, other = math.log(4 / 5 * 3 / 5 * 2 / 5 * 1 / 5), math.log(1 / 5 * 3 / 5 * 3 / 5 * 1 / 5)
    assert corpus.marginal_score(np.array([0])) == pytest.approx(one)
    assert corpus.marginal_score(np.array([1])) == pytest.approx(other)
    assert corpus.marginal_score(np.arange(2)) == pytest.approx((one + other) / 2)


def test_the_marginal_score_of_real_numbers():
    """Of standard normal numbers, whatever training's: data sets are normalised by training's moments."""
    train = [np.array([[0, 7]], np.float32), np.array([[4, 7]], np.float32)]
    test = [np.array([[0, 0], [2, -1]], np.float32), np.array([[0, 3]], np.float32)]
    corpus = corpus_of(Observation("gaussian", 2), train, test)
    at_the_mean = -math.log(2 * math.pi)
    one = 2 * at_the_mean - 0.5 * (2**2 + 1)
    other = at_the_mean - 0.5 * 3**2
    assert corpus.marginal_score(np.array([0])) == pytest.approx(one)
    assert corpus.marginal_score(np.array([1])) == pytest.approx(other)
    assert corpus.marginal_score(np.arange(2)) == pytest.approx((one + other) / 2)


def test_a_density_in_the_units_of_the_data():
    assert Observation("gaussian", 2, mean=(0.0, 0.0), std=(2.0, 8.0)).log_scale == pytest.approx(4 * math.log(2))
    assert Observation("bernoulli", 2).log_scale == 0
