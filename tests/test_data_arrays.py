"""Arrays of a user's own: what becomes of them, and every way to get them wrong."""

from __future__ import annotations

import io
import itertools
import os
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy_format

from zf_pyro.data.arrays import ArraySettings, load_arrays
from zf_pyro.data.npz import Npz
from zf_pyro.data.splits import SPLITS
from zf_pyro.errors import InputError

DEFAULTS = ArraySettings()


def save_npz(path, held):
    np.savez(path.with_suffix(".npz"), **held)
    return path.with_suffix(".npz")


def save_folder(path, held):
    for name, array in held.items():
        (path / f"{name}.npy").parent.mkdir(parents=True, exist_ok=True)
        np.save(path / f"{name}.npy", array)
    path.mkdir(exist_ok=True)
    return path


both_forms = pytest.mark.parametrize("save", [save_npz, save_folder])


def walks(count, width=2, seed=0):
    """Real numbers, each array of another length."""
    random = np.random.default_rng(seed)
    return [random.normal(3, 5, (4 + i, width)) for i in range(count)]


def numbered(arrays, name="s{}"):
    return {name.format(i): array for i, array in enumerate(arrays)}


def parts(split):
    return [split.scored(np.array([i])) for i in range(len(split))]


def in_original_units(corpus, split):
    std, mean = np.array(corpus.observation.std), np.array(corpus.observation.mean)
    return [part * std + mean for part in parts(getattr(corpus, split))]


def assert_same(ours, theirs):
    """The same arrays in any order."""
    ours, theirs = (
        sorted(arrays, key=lambda array: (array.shape, array.round(3).tolist())) for arrays in (ours, theirs)
    )
    assert [array.shape for array in ours] == [array.shape for array in theirs]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# Splits


@both_forms
@pytest.mark.parametrize(
    "pattern", ["{}_{}", "x_{}_{}", "{}/{}", "{}{}", "deep/{}/bird-{}", "{}/unit_test_{}", "{}.b.{}"]
)
@pytest.mark.parametrize("words", [("train", "valid", "test"), ("Training", "val", "TEST"), ("train", "dev", "Test")])
def test_names_give_the_splits(tmp_path, save, pattern, words):
    counts = dict(zip(words, (4, 2, 3), strict=True))
    arrays = iter(walks(9))
    held = {word: {pattern.format(word, i): next(arrays) for i in range(n)} for word, n in counts.items()}
    path = save(tmp_path / "set", {name: array for some in held.values() for name, array in some.items()})
    corpus = load_arrays(path, DEFAULTS)
    for split, word in zip(SPLITS, words, strict=True):
        assert_same(in_original_units(corpus, split), list(held[word].values()))


def test_without_a_named_validation_split_it_is_cut_from_training(tmp_path):
    arrays = walks(25)
    held = numbered(arrays[:20], "train_{}") | numbered(arrays[20:], "test_{}")
    corpus = load_arrays(save_npz(tmp_path / "a", held), ArraySettings(valid_fraction=0.2))
    assert [len(getattr(corpus, split)) for split in SPLITS] == [16, 4, 5]
    assert_same(in_original_units(corpus, "test"), arrays[20:])
    assert_same(in_original_units(corpus, "train") + in_original_units(corpus, "valid"), arrays[:20])


def test_without_names_the_content_decides(tmp_path):
    arrays = walks(40)
    one = load_arrays(save_npz(tmp_path / "one", numbered(arrays)), DEFAULTS)
    assert [len(getattr(one, split)) for split in SPLITS] == [34, 2, 4]
    assert_same([part for split in SPLITS for part in in_original_units(one, split)], arrays)
    other = load_arrays(save_folder(tmp_path / "two", numbered(arrays[::-1], "trainer{}")), DEFAULTS)
    for split in SPLITS:
        for ours, theirs in zip(parts(getattr(one, split)), parts(getattr(other, split)), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert one.fingerprint == other.fingerprint
    reseeded = load_arrays(tmp_path / "one.npz", ArraySettings(split_seed=1))
    assert sorted(reseeded.test.lengths) != sorted(one.test.lengths)
    assert reseeded.fingerprint != one.fingerprint


@both_forms
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
@pytest.mark.parametrize("name", ["{}", "x_{}"])
def test_an_array_may_hold_a_whole_split(tmp_path, save, shape, name):
    random = np.random.default_rng(0)
    held = {split: random.normal(size=(count, *shape[1:])) for split, count in zip(SPLITS, (6, 2, 3), strict=True)}
    path = save(tmp_path / "set", {name.format(split): array for split, array in held.items()})
    corpus = load_arrays(path, DEFAULTS)
    if len(shape) == 2 and name != "{}":  # (n, D), one sequence
        assert [len(getattr(corpus, split)) for split in SPLITS] == [1, 1, 1]
        assert corpus.observation.size == 5
        return
    assert corpus.observation.size == (shape[2] if len(shape) == 3 else 1)
    for split in SPLITS:
        assert_same(in_original_units(corpus, split), list(held[split].reshape(len(held[split]), 5, -1)))


@both_forms
def test_one_array_of_many_sequences_is_split_anew(tmp_path, save):
    many = np.random.default_rng(0).normal(size=(20, 5, 2))
    corpus = load_arrays(save(tmp_path / "set", {"birds": many}), DEFAULTS)
    assert [len(getattr(corpus, split)) for split in SPLITS] == [17, 1, 2]
    assert_same([part for split in SPLITS for part in in_original_units(corpus, split)], list(many))


def test_what_is_hidden_or_no_array_is_left_out(tmp_path):
    save_folder(tmp_path / "set", numbered(walks(5)))
    for name in (".old/a.npy", ".a.npy", "._s0.npy", "notes.txt", "s1.npy.bak"):
        (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"nothing")
    (tmp_path / "set" / "s0.npy").rename(tmp_path / "set" / "s0.NPY")
    (tmp_path / "set" / "folder.npy").mkdir()
    corpus = load_arrays(tmp_path / "set", DEFAULTS)
    assert sum(len(getattr(corpus, split)) for split in SPLITS) == 5


# Bits and real numbers


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, ">f8"])
@both_forms
def test_bits(tmp_path, save, dtype):
    random = np.random.default_rng(0)
    arrays = [(random.random((4 + i, 3)) < 0.5).astype(dtype) for i in range(5)]
    corpus = load_arrays(save(tmp_path / "set", numbered(arrays)), DEFAULTS)
    assert (corpus.observation.law, corpus.observation.size) == ("bernoulli", 3)
    assert (corpus.observation.mean, corpus.observation.std, corpus.observation.log_scale) == ((), (), 0.0)
    assert corpus.settings.emission == "bernoulli"
    assert "3 bits a step" in corpus.source
    found = {len(part): part for split in SPLITS for part in parts(getattr(corpus, split))}
    for array in arrays:
        assert found[len(array)].dtype == np.uint8
        np.testing.assert_array_equal(found[len(array)], array.astype(np.uint8))
    as_reals = load_arrays(tmp_path / ("set.npz" if save is save_npz else "set"), ArraySettings(emission="gaussian"))
    assert as_reals.observation.law == "gaussian"
    assert_same([part for split in SPLITS for part in in_original_units(as_reals, split)], [1.0 * a for a in arrays])


@pytest.mark.parametrize("other", [2, -1, 0.5, 1e-9])
def test_one_other_number_makes_them_real_numbers(tmp_path, other):
    arrays = [np.eye(4) for _ in range(4)] + [np.array([[1, 0, 0, other]])]
    path = save_npz(tmp_path / "a", numbered(arrays, "train{}") | {"test": np.zeros((1, 4, 4))})
    assert load_arrays(path, DEFAULTS).observation.law == "gaussian"
    message = failure(path, ArraySettings(emission="bernoulli"))
    assert f"{path}, array 'train4': a number other than 0 and 1; take emission=gaussian" in message


def test_normalisation_is_by_the_training_split(tmp_path):
    random = np.random.default_rng(0)
    arrays = [np.stack([random.normal(1e9, 2, n), random.normal(0, 1e-3, n), np.full(n, 0.1)], 1) for n in (7, 9, 4)]
    held = numbered(arrays[:2], "train{}") | {"val0": arrays[0] + 1, "test0": 5 * arrays[2]}
    corpus = load_arrays(save_npz(tmp_path / "a", held), DEFAULTS)
    together = np.concatenate(arrays[:2])
    mean, std = corpus.observation.mean, corpus.observation.std
    assert mean[:2] == pytest.approx(together[:, :2].mean(0), rel=1e-12)
    assert std[:2] == pytest.approx(together[:, :2].std(0), rel=1e-9)
    assert (mean[2], std[2]) == (0.1, 1.0)  # a constant is neither divided by rounding errors nor left as it is
    assert corpus.observation.log_scale == pytest.approx(np.log(together[:, :2].std(0)).sum())
    normalised = np.concatenate(parts(corpus.train))
    assert normalised.dtype == np.float32
    assert normalised.mean(0) == pytest.approx([0, 0, 0], abs=1e-6)
    assert normalised.std(0) == pytest.approx([1, 1, 0], abs=1e-6)
    assert not normalised[:, 2].any()
    np.testing.assert_allclose(parts(corpus.test)[0], (5 * arrays[2] - mean) / std, rtol=1e-6)


def test_chunks(tmp_path):
    arrays = walks(9)  # of 4 to 12 steps
    path = save_npz(tmp_path / "a", numbered(arrays[:5], "train{}") | numbered(arrays[5:], "test{}"))
    whole, cut = load_arrays(path, DEFAULTS), load_arrays(path, ArraySettings(chunk_length=3))
    assert (len(whole.train), len(cut.valid), len(cut.test)) == (4, 1, 4)
    for ours, theirs in ((cut.valid, whole.valid), (cut.test, whole.test)):
        assert ours.lengths.tolist() == theirs.lengths.tolist()
    assert cut.train.lengths.tolist() == [min(3, n - i) for n in whole.train.lengths.tolist() for i in range(0, n, 3)]
    np.testing.assert_array_equal(cut.train.frames, whole.train.frames)
    assert cut.observation == whole.observation
    assert whole.observation.sample_steps == int(np.median(whole.train.lengths))
    assert cut.fingerprint != whole.fingerprint


def test_what_a_data_set_says_of_itself(tmp_path, monkeypatch):
    held = numbered(walks(8), "train{}") | numbered(walks(3, seed=1), "test{}")
    save_npz(tmp_path / "a", held)
    monkeypatch.chdir(tmp_path)
    corpus = load_arrays(Path("a.npz"), DEFAULTS)
    assert corpus.origin == str(tmp_path / "a.npz")
    assert corpus.source == "a.npz: 7 / 1 / 3 sequences to train, validate and test, 2 real numbers a step"
    assert (corpus.observation.sequence, corpus.observation.step) == ("sequence", "step")
    assert corpus.settings == ArraySettings(emission="gaussian")
    assert load_arrays(save_npz(tmp_path / "b", held), DEFAULTS).fingerprint == corpus.fingerprint
    held["test0"] = held["test0"] + 1e-3
    assert load_arrays(save_npz(tmp_path / "c", held), DEFAULTS).fingerprint != corpus.fingerprint


def test_a_file_is_opened_as_often_for_many_arrays_as_for_few(tmp_path, monkeypatch):
    opened = []
    archive = Npz.archive
    monkeypatch.setattr(Npz, "archive", lambda self: opened.append(self.path) or archive(self))
    for count in (5, 50):
        load_arrays(save_npz(tmp_path / str(count), numbered(walks(count))), DEFAULTS)
    assert opened.count(tmp_path / "5.npz") == opened.count(tmp_path / "50.npz")


SHAPES = st.lists(st.integers(1, 9), min_size=3, max_size=12)


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.integers(1, 4), st.booleans(), st.sampled_from(["<f4", ">f8", "i2", bool]), st.integers(0, 2**32))
def test_every_number_comes_back(tmp_path_factory, lengths, width, folder, dtype, seed):
    random = np.random.default_rng(seed)
    arrays = [random.integers(0, 2 if dtype is bool else 99, (n, width)).astype(dtype) for n in lengths]
    path = (save_folder if folder else save_npz)(tmp_path_factory.mktemp("a") / "set", numbered(arrays))
    corpus = load_arrays(path, DEFAULTS)
    found = [corpus.train, corpus.valid, corpus.test]
    assert min(len(split) for split in found) >= 1
    is_real = corpus.observation.law == "gaussian"
    back = [
        np.rint(part * np.array(corpus.observation.std) + np.array(corpus.observation.mean)) if is_real else part
        for split in found
        for part in parts(split)
    ]
    expected = sorted(array.astype(float).tolist() for array in arrays)
    assert sorted(part.astype(float).tolist() for part in back) == expected


# Wrong input


def failure(path, given=DEFAULTS):
    """The line that says what is wrong; it names the source."""
    with pytest.raises(InputError) as caught:
        load_arrays(path, given)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


def with_number(value, place=(1, 0)):
    array = np.ones((4, 2))
    array[place] = value
    return array


@both_forms
@pytest.mark.parametrize(
    ("array", "said"),
    [
        (with_number(np.nan), "nan at (1, 0); every number must be finite"),
        (with_number(-np.inf, (3, 1)), "-inf at (3, 1); every number must be finite"),
        (np.ones((4, 3)), "3 numbers a step, and 2 in"),
        (np.ones(4), "1 numbers a step, and 2 in"),
        (np.ones((0, 2)), "of shape (0, 2)"),
        (np.ones((4, 0)), "of shape (4, 0)"),
        (np.ones(0), "of shape (0,)"),
        (np.float64(3), "of shape ()"),
        (np.ones((2, 2, 2, 2)), "of shape (2, 2, 2, 2)"),
        (np.ones((0, 4, 2)), "holds no sequence"),
        (np.ones((3, 0, 2)), "sequence 0: of shape (0, 2)"),
        (np.stack([np.ones((4, 2)), with_number(np.nan)]), "nan at (1, 1, 0)"),
        (np.array(["a", "b"]), "holds <U1, not bits, integers or real numbers"),
        (np.array([b"a"]), "holds |S1, not bits"),
        (np.ones((4, 2), complex), "holds complex128, not bits"),
        (np.zeros(4, "datetime64[s]"), "holds datetime64[s], not bits"),
        (np.zeros(4, [("a", float)]), "not bits"),
    ],
)
def test_wrong_arrays(tmp_path, save, array, said):
    held = {"a": np.zeros((4, 2)), "b": np.ones((5, 2)), "z": array}
    message = failure(save(tmp_path / "set", held))
    assert said in message
    assert ("array 'z'" in message) == (save is save_npz)
    assert ("z.npy" in message) == (save is save_folder)


@both_forms
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "b"], "2 sequences; at least 3 are needed"),
        (["train_0", "train_1", "train_2"], "3 training and 0 test sequences"),
        (["train_0", "train_1", "valid_0"], "2 training and 0 test sequences"),
        (["valid_0", "test_0", "test_1"], "0 training and 2 test sequences"),
        (["train_0", "test_0"], "1 training and 1 test sequences; at least 2 and 1 are needed"),
        ([], "nothing to read; give an .npz file or a folder of .npy files"),
    ],
)
def test_an_empty_split(tmp_path, save, names, said):
    assert said in failure(save(tmp_path / "set", dict(zip(names, walks(len(names)), strict=True))))


@both_forms
def test_names_that_give_a_split_to_some_only(tmp_path, save):
    held = dict(zip(["train_0", "train_1", "test_0", "bird"], walks(4), strict=True))
    message = failure(save(tmp_path / "set", held))
    assert "its name gives no split (train, valid or test), while others do" in message
    assert "bird" in message


@pytest.mark.parametrize("scale", [1e200, 1e308, 1e-200])
def test_numbers_that_cannot_be_normalised(tmp_path, scale):
    arrays = [np.random.default_rng(i).uniform(-1, 1, (5, 2)) * scale for i in range(5)]
    assert "rescale them" in failure(save_npz(tmp_path / "a", numbered(arrays)))


def test_a_test_number_far_from_training(tmp_path):
    held = {"train": np.random.default_rng(0).normal(size=(5, 4)), "test": np.full((1, 4), 1e60)}
    assert "rescale them" in failure(save_npz(tmp_path / "a", held))


class Trap:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("form", ["npz", "npy", "npz-bare", "npy-bare"])
def test_nothing_is_unpickled(tmp_path, form):
    trap = np.array([Trap(tmp_path / "trace")], dtype=object)
    held = numbered(walks(4)) | {"trap": trap}
    path = (save_npz if form.startswith("npz") else save_folder)(tmp_path / "set", held)
    inner = path if path.is_file() else path / "trap.npy"
    if form.endswith("bare"):
        inner.write_bytes(trap.dumps())
    message = failure(path)
    assert ("no .npz file" if form == "npz-bare" else "pickled objects, which are never read") in message
    assert not (tmp_path / "trace").exists()
    with inner.open("rb") as file:
        found = np.load(file, allow_pickle=True)
        found["trap"] if form == "npz" else found
    assert (tmp_path / "trace").exists()  # the trap works


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04" + bytes(60), b"a text\n", b"\x93NUMPY\x01\x00"])
def test_no_npz_file(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    failure(tmp_path / "a.npz")


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("read\nme.txt", "hello")
    assert "not bits, integers or real numbers" in failure(tmp_path / "a.npz")


def test_nothing_there(tmp_path):
    folder = tmp_path / "pickles"
    assert "No such file" in failure(folder / "a.npz")
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    assert "nothing to read" in failure(folder)
    assert "Not a directory" in failure(folder / "notes.txt" / "a.npz")
    assert "null byte" in failure(Path("a\0b"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither" in failure(tmp_path / "pipe")


def test_a_folder_that_cannot_be_looked_into(tmp_path, monkeypatch):
    save_folder(tmp_path / "set", numbered(walks(4), "deep/{}"))
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "cannot be read (Permission denied)" in failure(tmp_path / "set")


@pytest.mark.parametrize("fields", [{"chunk_length": -1}, {"test_fraction": 0.0}, {"split_seed": -1}])
def test_wrong_settings(fields):
    with pytest.raises(InputError) as caught:
        ArraySettings(**fields)
    assert str(caught.value).startswith(f"{next(iter(fields))} = ")


# Damaged files


def whole_file(packed=np.savez):
    file = io.BytesIO()
    packed(file, **numbered(walks(4)))
    return file.getvalue()


def whole_array():
    file = io.BytesIO()
    np.save(file, walks(1)[0])
    return file.getvalue()


def read_or_refuse(folder, content, is_npz):
    """Put these bytes in place of an ``.npz``, or of one ``.npy`` of four, and read; whether there is a result."""
    if is_npz:
        path = folder / "a.npz"
        path.write_bytes(content)
    else:
        path = save_folder(folder / "set", numbered(walks(3, seed=1)))
        (path / "z.npy").write_bytes(content)
    corpus, message = None, ""
    try:
        corpus = load_arrays(path, DEFAULTS)
    except InputError as error:
        message = str(error)
    if corpus is None:
        assert len(message.splitlines()) == 1
        assert str(path) in message
        return False
    assert all(np.isfinite(part).all() for split in SPLITS for part in parts(getattr(corpus, split)))
    return True


@pytest.mark.parametrize("is_npz", [True, False])
def test_a_file_that_is_cut_short(tmp_path, is_npz):
    content = whole_file() if is_npz else whole_array()
    assert read_or_refuse(tmp_path, content, is_npz)
    for size in range(0, len(content), 7 if is_npz else 3):
        assert not read_or_refuse(tmp_path, content[:size], is_npz), size


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([whole_file(), whole_file(np.savez_compressed), whole_array()]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes(tmp_path_factory, content, changes):
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    read_or_refuse(tmp_path_factory.mktemp("a"), bytes(damaged), is_npz=content.startswith(b"PK"))


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY\x01\x00v\x00{"]), st.binary(max_size=200))
def test_arbitrary_bytes(tmp_path_factory, head, content):
    for is_npz in (True, False):
        assert not read_or_refuse(tmp_path_factory.mktemp("a"), head + content, is_npz)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("is_npz", [True, False])
@pytest.mark.parametrize("shape", [(10**9, 2), (10**13, 2), (2**63, 2), (2**62, 4), (-1, 2), (3, -(2**60))])
def test_an_array_that_claims_to_be_huge(tmp_path, is_npz, shape):
    file = io.BytesIO()
    npy_format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    content = file.getvalue() + bytes(64)
    if is_npz:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.npy", content)
        content = file.getvalue()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not read_or_refuse(tmp_path, content, is_npz)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_a_folder_may_hold_one_npz(tmp_path):
    save_npz(tmp_path / "walks", numbered(walks(9)))
    assert load_arrays(tmp_path, DEFAULTS).fingerprint == load_arrays(tmp_path / "walks.npz", DEFAULTS).fingerprint
    save_npz(tmp_path / "more", numbered(walks(9)))
    with pytest.raises(InputError, match=r"2 \.npz and 0 \.npy files; give the path of one"):
        load_arrays(tmp_path, DEFAULTS)


def test_the_order_of_bytes_does_not_matter(tmp_path):
    little, big = (numbered([walk.astype(kind) for walk in walks(9)]) for kind in ("<f4", ">f4"))
    ours, theirs = (load_arrays(save_npz(tmp_path / "x", held), DEFAULTS) for held in (little, big))
    assert ours.fingerprint == theirs.fingerprint
    assert_same(in_original_units(ours, "test"), in_original_units(theirs, "test"))


def test_padding_by_nan_is_refused_with_advice(tmp_path):
    stacked = np.zeros((9, 5, 2))
    stacked[3, 4] = np.nan
    with pytest.raises(InputError, match=r"nan at \(3, 4, 0\).*arrays of their own, unpadded"):
        load_arrays(save_npz(tmp_path / "x", {"stacked": stacked}), DEFAULTS)


def test_samples_of_long_sequences_are_shorter(tmp_path):
    held = numbered([np.arange(n) % 2 for n in (3_000, 4_000, 5_000)])
    assert load_arrays(save_npz(tmp_path / "x", held), DEFAULTS).observation.sample_steps == 1_000


def test_an_emission_that_there_is_not():
    with pytest.raises(InputError, match="emission must be one of auto, bernoulli, gaussian, not 'poisson'"):
        ArraySettings(emission="poisson")


def test_another_split_or_scale_has_another_fingerprint(tmp_path):
    """The same sequences under every naming that leaves no split empty, and as real numbers of two scales."""
    bits = [np.array(row) for row in ([0, 1, 1], [1, 0], [1, 1, 0, 0], [0, 1, 0, 1, 1])]
    prints = set()
    namings = [words for words in itertools.product(SPLITS, repeat=4) if set(words) == set(SPLITS)]
    for words in namings:
        held = {f"{word}_{i}": row for i, (word, row) in enumerate(zip(words, bits, strict=True))}
        prints.add(load_arrays(save_npz(tmp_path / "x", held), DEFAULTS).fingerprint)
    for scale in (1, 2):
        held = {f"{word}_{i}": scale * row for i, (word, row) in enumerate(zip(namings[0], bits, strict=True))}
        prints.add(load_arrays(save_npz(tmp_path / "x", held), ArraySettings(emission="gaussian")).fingerprint)
    assert len(prints) == len(namings) + 2


@pytest.mark.parametrize("split", SPLITS)
def test_one_real_number_in_any_split_makes_all_real(tmp_path, split):
    held = {f"{name}_{i}": np.array([0.0, 1.0, float(i)]) for i in range(2) for name in SPLITS}
    held[f"{split}_1"][2] = 0.5
    assert load_arrays(save_npz(tmp_path / "x", held), DEFAULTS).observation.law == "gaussian"
