"""Images: every file of them, every way to get one wrong, and the bits that are drawn from grey."""

from __future__ import annotations

import gzip
import io
import os
import struct
import sys
import tracemalloc
import zipfile
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tests.shared import shared_file
from zf_pyro.data.image_files import read_amat, read_idx, read_packed
from zf_pyro.data.images import Grey, ImageSettings, load_digits, load_mnist
from zf_pyro.data.loader import ordered_batches
from zf_pyro.errors import InputError

RANDOM = np.random.default_rng(0)
BITS = {
    split: RANDOM.integers(0, 2, (size, 784), dtype=np.uint8)
    for split, size in [("train", 5), ("valid", 2), ("test", 3)]
}
GREY = {
    "train": RANDOM.integers(0, 256, (13, 4, 3), dtype=np.uint8),
    "t10k": RANDOM.integers(0, 256, (5, 4, 3), dtype=np.uint8),
}
IDX = "{}-images-idx3-ubyte"
AMAT = "binarized_mnist_{}.amat"
DYNAMIC = ImageSettings(binarize="dynamic")


def as_idx(images, magic=2051, shape=None):
    return struct.pack(">4I", magic, *(shape or images.shape)) + images.tobytes()


def as_amat(bits, blank=b" ", end=b"\n"):
    return end.join(blank.join(b"%d" % bit for bit in row.tolist()) for row in bits) + end


def as_npz(**members):
    out = io.BytesIO()
    np.savez_compressed(out, **members)
    return out.getvalue()


def as_packed(bits):
    return as_npz(**{split: np.packbits(part, axis=1) for split, part in bits.items()})


def write_grey(folder, name=IDX, pack=bytes, images=GREY):
    folder.mkdir(parents=True, exist_ok=True)
    for part, values in images.items():
        (folder / name.format(part)).write_bytes(pack(as_idx(values)))


def write_amat(folder, splits=tuple(BITS)):
    for split in splits:
        (folder / AMAT.format(split)).write_bytes(as_amat(BITS[split]))


def failure(read, path, *arguments):
    with pytest.raises(InputError) as caught:
        read(path, *arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def images_of(split):
    """All bits of a split, (N, P)."""
    return split.scored(np.arange(len(split.lengths))).reshape(len(split.lengths), -1)


# Files


@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=6)), st.sampled_from([bytes, gzip.compress]))
@settings(max_examples=40, deadline=5000)
def test_idx_round_trip(tmp_path_factory, images, pack):
    path = tmp_path_factory.getbasetemp() / "round.idx"
    path.write_bytes(pack(as_idx(images)))
    found = read_idx(path)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no idx3-ubyte file of images"),
        (as_idx(GREY["train"])[:15], "no idx3-ubyte file of images"),
        (as_idx(GREY["train"], magic=2052), "no idx3-ubyte file of images"),
        (b"PK\x03\x04" + bytes(20), "no idx3-ubyte file of images"),
        (struct.pack(">2I", 2049, 3) + b"\x07\x02\x01", "labels, not images; give the file whose name holds 'images"),
        (as_idx(GREY["train"])[:-1], "13 images of 4 x 3 pixels, 156 bytes, but 155 bytes follow"),
        (as_idx(GREY["train"]) + b"\0", "156 bytes, but more follows"),
        (gzip.compress(as_idx(GREY["train"])[:-1], mtime=0), "155 bytes follow"),
        (gzip.compress(as_idx(GREY["train"]) + b"\0", mtime=0), "more follows"),
        (as_idx(GREY["train"], shape=(0, 4, 3)), "0 images of 4 x 3 pixels; there is nothing in it"),
        (as_idx(GREY["train"], shape=(13, 0, 3)), "13 images of 0 x 3 pixels; there is nothing in it"),
        (as_idx(GREY["train"], shape=(13, 4, 0)), "13 images of 4 x 0 pixels; there is nothing in it"),
        (gzip.compress(as_idx(GREY["train"]), mtime=0)[:60], "truncated or damaged"),
        (gzip.compress(as_idx(GREY["train"]), mtime=0)[:-2], "truncated or damaged"),
        (gzip.compress(as_idx(GREY["train"]), mtime=0)[:-8] + bytes(8), "truncated or damaged"),
        (b"\x1f\x8b" + bytes(range(64)), "damaged"),
    ],
)
def test_wrong_idx(tmp_path, content, said):
    path = tmp_path / "images"
    path.write_bytes(content)
    assert said in failure(read_idx, path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_that_claims_more_than_there_is_takes_no_room(tmp_path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(as_idx(GREY["train"], shape=(2**32 - 1,) * 3)))
    tracemalloc.start()
    try:
        assert "but 156 bytes follow" in failure(read_idx, path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "content",
    [
        as_amat(BITS["train"]),
        as_amat(BITS["train"])[:-1],
        as_amat(BITS["train"], blank=b"  \t "),
        as_amat(BITS["train"], end=b" \r\n"),
        as_amat(BITS["train"], end=b"\n\n") + b" \n",
    ],
)
def test_amat_is_read_whatever_the_blanks(tmp_path, content, pack):
    path = tmp_path / "bits.amat"
    path.write_bytes(pack(content))
    found = read_amat(path)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    np.testing.assert_array_equal(found, BITS["train"])


LINE = as_amat(BITS["train"][:1])
MATLAB = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\1IM" + bytes(200)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (gzip.compress(b"", mtime=0), "empty"),
        (LINE + LINE[2:], "line 2: 783 pixels, not 784"),
        (LINE + LINE + b"1 " + LINE, "line 3: 785 pixels, not 784"),
        (LINE[:-1] + b" " + LINE, "line 1: 1,568 pixels, not 784"),
        (LINE + b"2" + LINE[1:], "line 2: '2', where only 0 and 1"),
        (LINE + b"\n" + LINE[:100] + b"01" + LINE[100:], "line 3: '01"),
        (LINE.replace(b" ", b""), "line 1: '"),
        (LINE + b"0.0" + LINE[1:], "line 2: '0.0', where only 0 and 1"),
        (b"\xff\x1c" + LINE, r"line 1: '\xff\x1c"),
        (as_amat(BITS["train"], blank=b","), "line 1: '"),
        (b"0" * 200_000, "line 1: '000000000000', where"),
        (b"0 " * 200_000, "line 1: 32,768 pixels, not 784"),
        (gzip.compress(LINE, mtime=0)[:-9], "truncated or damaged"),
        (MATLAB, "a MATLAB file of this name, not text"),
        (gzip.compress(MATLAB, mtime=0), "a MATLAB file of this name, not text"),
    ],
)
def test_wrong_amat(tmp_path, content, said):
    path = tmp_path / "bits.amat"
    path.write_bytes(content)
    assert said in failure(read_amat, path)


@pytest.mark.parametrize("read", [read_idx, read_amat])
def test_what_is_no_file(tmp_path, read):
    assert "cannot be read (No such file" in failure(read, tmp_path / "nowhere")
    assert "not a file" in failure(read, tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "not a file" in failure(read, tmp_path / "pipe")


@pytest.mark.parametrize("form", ["packed", np.uint8, bool, np.int64, np.float32])
def test_packed_is_read_in_every_form(tmp_path, form):
    path = tmp_path / "bits.npz"
    parts = {
        split: np.packbits(bits, axis=1) if form == "packed" else bits.astype(form) for split, bits in BITS.items()
    }
    path.write_bytes(as_npz(**parts, labels=np.arange(5)))
    found = read_packed(path)
    assert list(found) == ["train", "valid", "test"]
    for split, bits in found.items():
        assert bits.dtype == np.uint8
        np.testing.assert_array_equal(bits, BITS[split])


def overstated():
    """A set whose training array says that it has far more rows than follow."""
    out, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 98)})
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("train.npy", header.getvalue() + bytes(980))
    return out.getvalue()


def changed(place, value, dtype=np.float32):
    bits = BITS["train"].astype(dtype)
    bits[place] = value
    return bits


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no .npz file"),
        (LINE, "no .npz file"),
        (as_packed(BITS)[:-30], "cannot be read"),
        (overstated(), "array 'train': cannot be read"),
        (as_npz(train=np.packbits(BITS["train"], axis=1)), "no array 'valid'; there are train"),
        (as_npz(**{**BITS, "train": BITS["train"][:0]}), "array 'train': uint8 numbers of the shape (0, 784)"),
        (as_npz(**{**BITS, "train": BITS["train"][:, :99]}), "array 'train': uint8 numbers of the shape (5, 99)"),
        (as_npz(**{**BITS, "train": BITS["train"][0]}), "array 'train': uint8 numbers of the shape (784,)"),
        (as_npz(**{**BITS, "train": np.zeros((5, 98))}), "array 'train': float64 numbers of the shape (5, 98)"),
        (as_npz(**{**BITS, "test": changed((1, 7), 2, int)}), "array 'test': 2 at (1, 7)"),
        (as_npz(**{**BITS, "test": changed((1, 7), 0.5)}), "array 'test': 0.5 at (1, 7)"),
        (as_npz(**{**BITS, "test": changed((4, 783), np.nan)}), "array 'test': nan at (4, 783)"),
        (as_npz(**{**BITS, "train": np.array([["a"] * 784])}), "array 'train': holds <U1"),
        (as_npz(**{**BITS, "train": np.array([None])}), "never read"),
    ],
)
def test_wrong_packed(tmp_path, content, said):
    path = tmp_path / "bits.npz"
    path.write_bytes(content)
    assert said in failure(read_packed, path)


WHOLE = {
    read_idx: [as_idx(GREY["train"]), gzip.compress(as_idx(GREY["train"]), mtime=0)],
    read_amat: [as_amat(BITS["valid"]), gzip.compress(as_amat(BITS["valid"]), mtime=0)],
    read_packed: [as_packed(BITS), as_npz(**BITS)],
}


@pytest.mark.parametrize("read", WHOLE)
@given(data=st.data())
@settings(max_examples=150, deadline=5000)
def test_damaged_bytes_give_images_or_one_line(tmp_path_factory, read, data):
    path = tmp_path_factory.getbasetemp() / "damaged"
    content = bytearray(data.draw(st.sampled_from([*WHOLE[read], b""])) or data.draw(st.binary(max_size=200)))
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    whole = len(content)
    path.write_bytes(content[: data.draw(st.just(whole) | st.integers(0, whole))])
    try:
        found, message = read(path), str(path)
    except InputError as error:
        found, message = {}, str(error)
    assert "\n" not in message
    assert str(path) in message
    for images in found.values() if isinstance(found, dict) else [found]:
        assert images.dtype == np.uint8
        assert images.size > 0


# MNIST as a data set


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", [IDX, "{}-images.idx3-ubyte", IDX + ".gz"])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_grey_images_are_found(tmp_path, below, name, pack):
    write_grey(tmp_path / below, name, pack)
    corpus = load_mnist(tmp_path, ImageSettings())
    assert corpus.settings.binarize == "dynamic"
    np.testing.assert_array_equal(corpus.train.intensities, GREY["train"][:11].reshape(11, 12))
    np.testing.assert_array_equal(corpus.valid.intensities, GREY["train"][11:].reshape(2, 12))
    np.testing.assert_array_equal(corpus.test.intensities, GREY["t10k"].reshape(5, 12))
    assert corpus.train.maximum == 255
    assert corpus.source == (
        f"{tmp_path}: 11 / 2 / 5 images of 4 x 3 pixels to train, validate and test, "
        "binarised anew every epoch (dynamic)"
    )
    assert (corpus.observation.rows, corpus.observation.sample_steps) == (4, 12)


def test_threshold(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    write_grey(tmp_path, images={"train": levels, "t10k": levels})
    corpus = load_mnist(tmp_path, ImageSettings(binarize="threshold"))
    assert images_of(corpus.test).ravel().tolist() == [0] * 128 + [1] * 128
    assert len(corpus.train.lengths) == 3
    assert len(corpus.valid.lengths) == 1
    assert "at half of the maximum (threshold)" in corpus.source


def test_fixed_set_is_the_same_from_each_file(tmp_path):
    (tmp_path / "text").mkdir()
    write_amat(tmp_path / "text")
    (tmp_path / "packed").mkdir()
    npz = tmp_path / "packed" / "Binarized.npz"
    npz.write_bytes(as_packed(BITS))
    alone = tmp_path / "bits.npz"
    alone.write_bytes(as_npz(**BITS))
    corpora = [load_mnist(path, ImageSettings()) for path in (tmp_path / "text", tmp_path / "packed", npz, alone)]
    for corpus in corpora:
        assert corpus.settings.binarize == "fixed"
        assert corpus.fingerprint == corpora[0].fingerprint
        for split, bits in BITS.items():
            np.testing.assert_array_equal(images_of(getattr(corpus, split)), bits)
    assert corpora[2].origin == str(npz)
    assert corpora[2].source == (
        f"{npz}: 5 / 2 / 3 images of 28 x 28 pixels to train, validate and test, binarised once (fixed set)"
    )


def test_origin_is_absolute(tmp_path, monkeypatch):
    write_grey(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    corpus = load_mnist(type(tmp_path)("here"), ImageSettings())
    assert corpus.origin == str(tmp_path / "here")
    assert corpus.source.startswith("here: ")


@pytest.mark.parametrize(("asked", "taken"), [("auto", "fixed"), ("fixed", "fixed"), ("dynamic", "dynamic")])
def test_choice_where_both_are_there(tmp_path, asked, taken):
    write_grey(tmp_path)
    write_amat(tmp_path)
    corpus = load_mnist(tmp_path, ImageSettings(binarize=asked))
    assert corpus.settings.binarize == taken
    assert corpus.observation.rows == (28 if taken == "fixed" else 4)


def test_fingerprint_tells_data_and_bits_apart(tmp_path):
    write_grey(tmp_path)
    (tmp_path / "binarized.npz").write_bytes(as_packed(BITS))
    chosen = [
        ImageSettings(),
        DYNAMIC,
        ImageSettings(binarize="dynamic", split_seed=1),
        ImageSettings(binarize="threshold"),
    ]
    found = [load_mnist(tmp_path, each).fingerprint for each in chosen]
    other = {**GREY, "t10k": GREY["t10k"] ^ 1}
    write_grey(tmp_path, images=other)
    found += [load_mnist(tmp_path, each).fingerprint for each in chosen[1:]]
    assert len(set(found)) == len(found)
    assert load_mnist(tmp_path, ImageSettings(split_seed=1)).fingerprint == found[0]


@pytest.mark.parametrize("binarize", ["auto", "fixed", "dynamic", "threshold"])
def test_folder_without_images(tmp_path, binarize):
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
    (tmp_path / "._binarized.npz").write_bytes(b"")
    message = failure(load_mnist, tmp_path, ImageSettings(binarize=binarize))
    assert "no images of MNIST in it; give the folder of train-images-idx3-ubyte" in message


def test_path_with_nothing(tmp_path):
    assert "cannot be read (No such file" in failure(load_mnist, tmp_path / "nowhere", ImageSettings())


def test_single_file_that_is_only_a_part(tmp_path):
    write_grey(tmp_path)
    message = failure(load_mnist, tmp_path / IDX.format("train"), ImageSettings())
    assert "only a part of the data; give the folder" in message


def test_what_binarize_needs_is_named(tmp_path):
    write_grey(tmp_path / "grey")
    npz = tmp_path / "set.npz"
    npz.write_bytes(as_packed(BITS))
    message = failure(load_mnist, tmp_path / "grey", ImageSettings(binarize="fixed"))
    assert "binarize = 'fixed', but the fixed set is missing" in message
    assert "set binarize to 'dynamic' or 'threshold'" in message
    for binarize in ("dynamic", "threshold"):
        message = failure(load_mnist, npz, ImageSettings(binarize=binarize))
        assert f"binarize = '{binarize}', but the images of grey are missing (train-images-idx3-ubyte" in message
        assert "set binarize to 'fixed'" in message


@pytest.mark.parametrize("there", ["train", "t10k"])
def test_missing_half_is_named(tmp_path, there):
    write_grey(tmp_path, images={there: GREY[there]})
    missing = IDX.format("t10k" if there == "train" else "train")
    assert f"beside {IDX.format(there)} there is no {missing}; add" in failure(load_mnist, tmp_path, ImageSettings())


def test_missing_split_is_named(tmp_path):
    write_amat(tmp_path, ["valid"])
    message = failure(load_mnist, tmp_path, ImageSettings())
    assert "there is no binarized_mnist_train.amat, binarized_mnist_test.amat; add" in message


def test_two_fixed_sets(tmp_path):
    for name in ("binarized_a.npz", "binarized_b.npz"):
        (tmp_path / name).write_bytes(as_packed(BITS))
    assert "several fixed sets (binarized_a.npz, binarized_b.npz)" in failure(load_mnist, tmp_path, ImageSettings())


def test_images_of_different_sizes(tmp_path):
    write_grey(tmp_path, images={**GREY, "t10k": GREY["t10k"].transpose(0, 2, 1)})
    assert "are of 4 x 3 and 3 x 4 pixels" in failure(load_mnist, tmp_path, ImageSettings())


def test_too_few_images(tmp_path):
    write_grey(tmp_path, images={**GREY, "train": GREY["train"][:1]})
    path = tmp_path / IDX.format("train")
    assert f"{path}: 1 image; at least 2 are needed" in failure(load_mnist, tmp_path, ImageSettings())


def test_damaged_file_of_a_folder_is_named(tmp_path):
    write_grey(tmp_path)
    path = tmp_path / IDX.format("t10k")
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}: its first bytes say" in failure(load_mnist, tmp_path, ImageSettings())


def test_unreadable_folder(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "scandir", refuse)
    assert "cannot be read (Permission denied)" in failure(load_mnist, tmp_path, ImageSettings())


def test_unknown_way_to_binarise():
    with pytest.raises(InputError, match="binarize must be one of auto, fixed, dynamic, threshold, not 'static'"):
        ImageSettings(binarize="static")


# Bits


@pytest.fixture
def mnist(tmp_path):
    write_grey(tmp_path)
    return load_mnist(tmp_path, DYNAMIC)


@pytest.mark.parametrize("binarize", ["dynamic", "threshold"])
def test_batch_reads_what_it_scored_a_step_before(tmp_path, binarize):
    write_grey(tmp_path)
    split = load_mnist(tmp_path, ImageSettings(binarize=binarize)).train
    indices = np.array([4, 0, 9])
    batch = split.batch(indices)
    assert batch.inputs.shape == batch.targets.shape == (12, 3, 1)
    assert batch.inputs.dtype == torch.get_default_dtype()
    assert batch.mask.all()
    assert not batch.first_input_is_data
    assert not batch.inputs[0].any()
    torch.testing.assert_close(batch.inputs[1:], batch.targets[:-1])
    expected = split.scored(indices).reshape(3, 12)
    np.testing.assert_array_equal(batch.targets[..., 0].T.numpy(), expected)
    assert len(split) == len(split.lengths) == 11
    assert set(split.lengths.tolist()) == {12}


def test_draws_do_not_depend_on_the_batch(mnist):
    split = mnist.train.of_epoch(3, 5)
    whole = images_of(split)
    order = np.array([7, 2, 2, 10, 0])
    np.testing.assert_array_equal(split.bits(order), whole[order])
    batches = [batch.targets[..., 0].T.numpy() for batch in ordered_batches(split, np.arange(11), 4)]
    np.testing.assert_array_equal(np.concatenate(batches), whole)
    np.testing.assert_array_equal(images_of(mnist.train.of_epoch(0, 0).of_epoch(3, 5)), whole)
    assert split.scored(order[:0]).shape == (0, 1)


def test_every_key_and_every_image_has_draws_of_its_own(tmp_path):
    same = np.full((12, 8, 8), 128, dtype=np.uint8)
    write_grey(tmp_path, images={"train": same, "t10k": same})
    corpus = load_mnist(tmp_path, DYNAMIC)
    other = load_mnist(tmp_path, ImageSettings(binarize="dynamic", split_seed=0))
    splits = [corpus.train, corpus.valid, corpus.test, other.train, other.valid, other.test]
    splits += [corpus.train.of_epoch(seed, epoch) for seed in (0, 1, 42) for epoch in (0, 1, 2, 3)]
    rows = np.concatenate([images_of(split) for split in splits])
    assert len(np.unique(rows, axis=0)) == len(rows)
    # Unlike in 32 of 64 pixels on average, with a standard deviation of 4.
    unlike = (rows[:, None] != rows[None])[np.triu_indices(len(rows), 1)].sum(1)
    assert unlike.min() > 8
    assert unlike.max() < 56


def test_validation_and_test_are_drawn_once(tmp_path):
    write_grey(tmp_path)
    first, again = (load_mnist(tmp_path, DYNAMIC) for _ in range(2))
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(images_of(getattr(first, split)), images_of(getattr(again, split)))


def test_draws_are_pinned():
    """Runs are compared on these bits: a change of them is a change of the data."""
    split = Grey(np.full((2, 16), 128, dtype=np.uint8), 255, (42, 0, 3))
    assert np.packbits(split.bits(np.arange(2)), axis=1).tolist() == [[201, 65], [175, 133]]


def upper_tail(count, trials, numerator, denominator):
    """P(X >= count) for a binomial X, from whole numbers."""
    rest = denominator - numerator
    ways = sum(comb(trials, k) * numerator**k * rest ** (trials - k) for k in range(count, trials + 1))
    return ways / denominator**trials


@pytest.mark.parametrize("maximum", [16, 255])
def test_bits_are_one_as_often_as_the_intensity_says(maximum):
    levels = np.arange(maximum + 1, dtype=np.uint8)
    split, epochs = Grey(levels[None], maximum, (0,)), 300
    ones = sum(split.of_epoch(1, epoch).bits(np.arange(1))[0].astype(int) for epoch in range(epochs)).tolist()
    assert (ones[0], ones[-1]) == (0, epochs)
    for level, count in enumerate(ones):
        assert upper_tail(count, epochs, level, maximum) > 1e-6
        assert upper_tail(epochs - count, epochs, maximum - level, maximum) > 1e-6


# The digits of scikit-learn


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    corpus = load_digits(None, ImageSettings())
    assert corpus.settings.binarize == "dynamic"
    assert corpus.origin == "scikit-learn"
    assert corpus.source == (
        "the digits of scikit-learn: 1,527 / 90 / 180 images of 8 x 8 pixels to train, validate and test, "
        "binarised anew every epoch (dynamic)"
    )
    assert (corpus.observation.rows, corpus.observation.sample_steps) == (8, 64)
    found = np.concatenate([corpus.train.intensities, corpus.valid.intensities, corpus.test.intensities])
    expected = datasets.load_digits().data
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(expected, axis=0))
    assert len(found) == len(expected) == len(np.unique(found, axis=0))
    bits = images_of(corpus.train)
    assert not bits[corpus.train.intensities == 0].any()
    assert bits[corpus.train.intensities == 16].all()
    other = load_digits(None, ImageSettings(split_seed=1))
    assert other.fingerprint != corpus.fingerprint
    assert not np.array_equal(other.test.intensities, corpus.test.intensities)


def test_digits_at_a_threshold():
    pytest.importorskip("sklearn.datasets")
    grey = load_digits(None, ImageSettings()).test.intensities
    bits = images_of(load_digits(None, ImageSettings(binarize="threshold")).test)
    np.testing.assert_array_equal(bits, grey >= 8)


def test_digits_have_no_fixed_set():
    with pytest.raises(InputError, match=r"^binarize = 'fixed', but there is no fixed set of the digits; set 'dyn.*$"):
        load_digits(None, ImageSettings(binarize="fixed"))


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r'^the digits come with .*; pip install "zf_pyro\[samples\]"$'):
        load_digits(None, ImageSettings())


# The real files


def test_shared_fixed_set():
    path = shared_file("mnist/binarized_mnist_fixed_packed.npz")
    corpus = load_mnist(path.parent, ImageSettings())
    splits = [corpus.train, corpus.valid, corpus.test]
    assert [len(split) for split in splits] == [50_000, 10_000, 10_000]
    assert [f"{split.frames.mean():.4f}" for split in splits] == ["0.1306", "0.1311", "0.1325"]
    assert corpus.source == (
        f"{path.parent}: 50,000 / 10,000 / 10,000 images of 28 x 28 pixels to train, validate and test, "
        "binarised once (fixed set)"
    )


def test_shared_grey_images():
    path = shared_file("mnist/t10k-images-idx3-ubyte.gz")
    corpus = load_mnist(path.parent, DYNAMIC)
    assert [len(split) for split in (corpus.train, corpus.valid, corpus.test)] == [50_000, 10_000, 10_000]
    with gzip.open(path) as file:
        seven = np.frombuffer(file.read(16 + 784)[16:], np.uint8)
    np.testing.assert_array_equal(corpus.test.intensities[0], seven)
    with gzip.open(shared_file("mnist/train-images-idx3-ubyte.gz")) as file:
        train = file.read()[16:]
    assert corpus.train.intensities.tobytes() + corpus.valid.intensities.tobytes() == train
    # Of 784,000 bits, whose number of ones has a variance below a quarter of them each.
    expected = corpus.test.intensities[:1000].mean() / 255
    assert abs(corpus.test.scored(np.arange(1000)).mean() - expected) < 5 * np.sqrt(0.25 / 784_000)
