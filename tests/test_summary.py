"""What a data set is said to hold, against figures counted by hand, and its pictures."""

from __future__ import annotations

import warnings

import matplotlib.image
import numpy as np
import pytest

from tests.test_sequences import corpus_of
from zf_pyro import pictures, summary
from zf_pyro.data.arrays import ArraySettings, load_arrays
from zf_pyro.data.corpus import Observation
from zf_pyro.data.text import TextSettings, load_text
from zf_pyro.pictures import draw_sequences, draw_text
from zf_pyro.summary import draw_some, table


@pytest.fixture(autouse=True)
def _strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def write_text(folder, train, valid, test):
    folder.mkdir()
    for split, lines in {"train": train, "valid": valid, "test": test}.items():
        (folder / f"{split}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def rows(corpus):
    """The table cut into its cells, without the lines above and below it."""
    first, *lines, last = table(corpus)
    assert first == corpus.source
    assert len({len(line) for line in lines}) == 1  # the columns are flush
    return [line.split() for line in lines], last


def test_text(tmp_path):
    folder = write_text(tmp_path / "set", ["a b c", "a b", "z"], ["a q"], ["b", "a a a", "a <unk> b b"])
    corpus = load_text(folder, TextSettings(lines="sentences", min_tokens=1))
    lines, last = rows(corpus)
    assert lines == [
        ["split", "sentences", "tokens", "shortest", "median", "longest", "unknown"],
        ["train", "3", "9", "2", "3", "4", "22.22%"],  # c and z, of a b c </s> a b </s> z </s>
        ["valid", "1", "3", "3", "3", "3", "33.33%"],
        ["test", "3", "11", "2", "4", "5", "9.09%"],
    ]
    assert last == "vocabulary: 6, the special four included; most frequent: 'a', 'b'"


def test_characters(tmp_path):
    folder = write_text(tmp_path / "set", ["ab a", "ba"], ["a"], ["x"])
    lines, last = rows(load_text(folder, TextSettings(level="char", lines="sentences", min_tokens=1)))
    assert lines[0] == ["split", "sentences", "characters", "shortest", "median", "longest", "unknown"]
    assert lines[1:] == [
        ["train", "2", "8", "3", "4", "5", "0.00%"],  # the space is known however rarely it comes
        ["valid", "1", "2", "2", "2", "2", "0.00%"],
        ["test", "1", "2", "2", "2", "2", "50.00%"],
    ]
    assert "most frequent: 'a', 'b', ' '" in last


def test_bits(tmp_path):
    held = {"train0": [[1, 0], [1, 1], [0, 0]], "train1": [[1, 0]], "val0": [[0, 0]], "test0": [[1, 1]] * 1200}
    np.savez(tmp_path / "a.npz", **held)
    lines, last = rows(load_arrays(tmp_path / "a.npz", ArraySettings(chunk_length=2)))
    assert lines == [
        ["split", "sequences", "steps", "shortest", "median", "longest", "mean"],
        ["train", "3", "4", "1", "1", "2", "0.5000"],
        ["valid", "1", "1", "1", "1", "1", "0.0000"],
        ["test", "1", "1,200", "1,200", "1,200", "1,200", "1.0000"],
    ]
    assert last == "a step: 2 bits"


def test_real_numbers_are_told_in_the_units_of_the_data(tmp_path):
    held = {"train0": [1.0, 3.0], "train1": [5.0, 7.0], "val0": [-100.0], "test0": [0.0, 0.5, 1.0]}
    np.savez(tmp_path / "a.npz", **held)
    lines, last = rows(load_arrays(tmp_path / "a.npz", ArraySettings()))
    assert lines == [
        ["split", "sequences", "steps", "shortest", "median", "longest", "mean", "std"],
        ["train", "2", "4", "2", "2", "2", "4", "2.236"],  # the square root of 5
        ["valid", "1", "1", "1", "1", "1", "-100", "0"],
        ["test", "1", "3", "3", "3", "3", "0.5", "0.4082"],  # of 1 / 6
    ]
    assert last == "a step: 1 real numbers"


# Pictures


def pixels(path):
    """(height, width, 4), and that it is a png."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(path)


def dark(path):
    return float((pixels(path)[..., :3].mean(-1) < 0.5).mean())


SHAPES = {
    "bits": (Observation("bernoulli", 5), 5),
    "one bit": (Observation("bernoulli", 1), 1),
    "images": (Observation("bernoulli", 1, sample_steps=12, rows=4), 1),
    "lines": (Observation("gaussian", 3, mean=(0.0,) * 3, std=(2.0,) * 3), 3),
    "a map": (Observation("gaussian", 9, mean=(0.0,) * 9, std=(2.0,) * 9), 9),
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("count", [1, 12])
def test_a_picture_of_each_kind(tmp_path, kind, count):
    observation, width = SHAPES[kind]
    random = np.random.default_rng(0)
    sequences = [random.integers(0, 2, (12, width)).astype(np.uint8) for _ in range(count)]
    draw_some(corpus_of(observation, sequences, sequences), tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").std() > 0.01
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_which_sequences_are_drawn(tmp_path, monkeypatch):
    """Ten at most, always the same ones, and real numbers in the units of the data."""
    drawn = []
    monkeypatch.setattr(summary, "draw_sequences", lambda found, observation, path, title: drawn.append((found, title)))
    sequences = [np.full((2, 1), i, np.float32) for i in range(30)]
    corpus = corpus_of(Observation("gaussian", 1, mean=(100.0,), std=(2.0,)), sequences, sequences)
    for _ in range(2):
        draw_some(corpus, tmp_path / "a.png")
    (one, title), (other, _) = drawn
    assert title == "here: 10 sequences of the training split"
    np.testing.assert_array_equal(one, other)
    assert len({float(sequence[0, 0]) for sequence in one}) == 10
    assert all((sequence[0, 0] - 100) / 2 in range(30) for sequence in one)


def test_ones_are_dark_and_zeros_are_white(tmp_path):
    observation = Observation("bernoulli", 2)
    draw_sequences([np.ones((9, 2))], observation, tmp_path / "ones.png")
    draw_sequences([np.zeros((9, 2))], observation, tmp_path / "zeros.png")
    assert dark(tmp_path / "ones.png") > 0.5 > 0.1 > dark(tmp_path / "zeros.png")


ODD = [
    "costs $5 or $x^2$ or \\frac{",
    "你好 世界",
    "مرحبا",
    "nul \x00 and bell \x07",
    "😀",
    "%s {0} <b>",
    "",
    "x" * 500,
]


def test_a_picture_of_text(tmp_path):
    for name, lines in {"odd": ODD, "blank": [""] * len(ODD)}.items():
        draw_text(lines, tmp_path / f"{name}.png", "$ title_{ 你")
    assert dark(tmp_path / "odd.png") > dark(tmp_path / "blank.png") > 0
    assert pixels(tmp_path / "odd.png").shape == pixels(tmp_path / "blank.png").shape


def test_a_long_line_is_cut(tmp_path):
    draw_text(["x" * 120 + "y"], tmp_path / "a.png")
    draw_text(["x" * 117 + "..."], tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("level", ["word", "char"])
def test_a_picture_of_a_corpus_of_odd_text(tmp_path, level):
    folder = write_text(tmp_path / "a: $x$ 你", [line for line in ODD if line], ["a"], ["b"])
    corpus = load_text(folder, TextSettings(level=level, lines="sentences", min_tokens=1, min_count=1))
    draw_some(corpus, tmp_path / "a.png")
    assert dark(tmp_path / "a.png") > 0
    assert all(len(line.splitlines()) == 1 for line in table(corpus))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        draw_text(["a"], tmp_path / "nowhere" / "a.png")


def test_a_picture_holds_a_few_of_many(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "draw", lambda axes, sequence, observation: drawn.append(sequence[0, 0]))
    draw_sequences([np.full((3, 2), i) for i in range(500)], Observation("bernoulli", 2), tmp_path / "x.png")
    assert drawn == list(range(pictures.MOST_PANELS))


def test_numbers_that_are_large_beside_their_deviation(tmp_path):
    random = np.random.default_rng(0)
    arrays = {f"a{i}": 1e9 + random.normal(size=(50, 1)) for i in range(20)}
    np.savez(tmp_path / "a.npz", **arrays)
    lines, _ = rows(load_arrays(tmp_path / "a.npz", ArraySettings()))
    for line in lines[1:]:
        assert float(line[-2]) == 1e9
        assert 0.7 < float(line[-1]) < 1.3
