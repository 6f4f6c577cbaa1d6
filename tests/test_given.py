"""Files for a finished run: score, encode and latents on every kind of data, and what is refused."""

import csv
import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import zf_pyro
from tests.test_data_music import arrays, on, save, song
from tests.test_datasets import KINDS, SHORT, sources, write_images
from tests.toy_runs import SMALL, set_all
from zf_pyro.data.corpus import Observation
from zf_pyro.data.datasets import open_given
from zf_pyro.data.given import Reading
from zf_pyro.data.text import Vocabulary, collate
from zf_pyro.errors import InputError
from zf_pyro.inspection.command import beside
from zf_pyro.presets import preset

__all__ = ["sources"]


def table(path):
    """The rows of a CSV by name, numbers as such."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row.pop("name"): {name: float(value) for name, value in row.items()} for row in rows}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data(run_py, zf, sources, tmp_path, kind, monkeypatch):
    """The bounds of a run's own test sequences are those of its test."""
    monkeypatch.chdir(tmp_path)
    source = sources[kind][2]
    file = source / "t10k-images-idx3-ubyte.gz" if kind == "images" else source
    assert run_py("--dataset", *sources[kind], *SHORT, "--eval-sequences", "all", "--output", "run")[0] == 0
    status, output, error = zf("score", "run", file)
    assert status == 0, error
    rows = table(tmp_path / f"{file.name.split('.')[0]}-scores.csv")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    tested = np.load(tmp_path / "run" / f"evaluation-{results['test']['num_particles']}.npz")
    for name in ("elbo", "iw_bound"):
        found = np.array([row[name] for row in rows.values()])
        nearest = np.abs(found[:, None] - tested[name]).min(0)  # layers of few units round by the row
        assert (nearest < 1e-5 + 1e-6 * np.abs(tested[name])).all()
        if kind == "images":
            assert found.tolist() == pytest.approx(tested[name].tolist(), rel=1e-6)
    for row in rows.values():
        assert row["elbo"] <= row["iw_bound"] + 1e-9
        assert row["iw_bound_per_step"] == pytest.approx(row["iw_bound"] / row["steps"])
        assert ("perplexity" in row) == (kind in ("sentences", "characters"))
        if "perplexity" in row:
            assert row["perplexity"] == pytest.approx(math.exp(-row["iw_bound_per_step"]))
        if kind == "characters":
            assert 2 ** row["bits_per_character"] == pytest.approx(row["perplexity"])
        assert ("iw_bound_original" in row) == (kind in ("reals", "sound"))
    assert f"{len(rows):,} {results['sequence']}s" in output
    if kind not in ("bits", "characters"):
        check_encoding(zf, tmp_path, file, rows)
    if kind in ("sound", "sentences"):
        check_latents(zf, tmp_path, results)


def check_encoding(zf, folder, file, rows):
    """Means and scales of the same sequences."""
    assert zf("encode", "run", file, "--output", "z.npz", "--encoding")[0] == 0
    with np.load(folder / "z.npz", allow_pickle=False) as encoded:
        assert encoded["names"].tolist() == list(rows)
        assert encoded["lengths"].tolist() == [row["steps"] for row in rows.values()]
        assert encoded["mean"].shape == encoded["scale"].shape == (encoded["lengths"].sum(), 3)
        assert encoded["encoding"].shape == (encoded["lengths"].sum(), 8)
        assert (encoded["scale"] > 0).all()
        assert len(np.unique(encoded["mean"])) > len(rows)
    before = (folder / "z.npz").read_bytes()
    status, _, error = zf("encode", "run", file, "--output", "z.npz")
    assert (status, error.count("\n")) == (2, 1)
    assert "--force overwrites it" in error
    assert (folder / "z.npz").read_bytes() == before


def check_latents(zf, folder, results):
    """The figures hang together, and with those of the test."""
    status, output, error = zf("latents", "run")
    assert status == 0, error
    written = json.loads((folder / "run" / "latents.json").read_text())
    found, test = written["latents"], results["test"]
    for name in ("iw_bound", "kl", "active_units", "num_steps", "num_particles"):
        assert found[name] == test[name]
    assert found["reconstruction"] == pytest.approx(test["elbo"] + test["kl"])
    assert found["iw_bound_loss"] == pytest.approx(found["iw_bound"] - found["iw_bound_by_prior"])
    counts, by_step = np.array(found["sequences_by_step"]), np.array(found["kl_by_step"])
    assert counts[0] == test["num_sequences"]
    assert counts.sum() == test["num_steps"]
    assert (counts * by_step).sum() / counts.sum() == pytest.approx(sum(found["kl_by_unit"]))
    info = found["information"]
    assert len(info["lower"]) == len(info["upper"]) == len(info["error"]) >= 1
    assert max(info["lower"]) <= math.log(info["num_sequences"]) + 1e-9
    assert f"{found['iw_bound_loss']:.3f}" in output
    assert (folder / "run" / "latents.png").read_bytes().startswith(b"\x89PNG")


def test_text_of_documents(zf, finished, tmp_path, monkeypatch):
    """Sentences of any length, named by line and place, beside log_likelihood; many are counted."""
    monkeypatch.chdir(tmp_path)
    film = "the film moves us again ."
    (tmp_path / "mine.txt").write_text(f"{film} Zyzzyva {'bores ' * 20}.\n\n{film}\n" + f"{film}\n" * 30)
    status, output, error = zf("score", finished, "mine.txt", "--num-particles", 7)
    assert status == 0, error
    rows = table(tmp_path / "mine-scores.csv")
    assert list(rows) == ["1.1", "1.2", *(f"{line}.1" for line in range(3, 34))]
    assert rows["1.1"] == pytest.approx(rows["3.1"], rel=1e-6)
    assert rows["1.1"] == pytest.approx(rows["33.1"], rel=1e-6)
    assert rows["1.2"]["steps"] == 23
    assert "1 of 214 words are not among the run's" in output
    assert "sentences of other than 5 to 16 words, of which there were none in training: 1" in output
    assert "the first 20 of 33" in output
    run = zf_pyro.load(finished)
    batch = collate([run.vocabulary.encode(film.split())])
    bound = zf_pyro.log_likelihood(run.model, run.guide, batch, 7, seed=run.config.seed)
    assert bound.item() == pytest.approx(rows["1.1"]["iw_bound"], rel=1e-6)
    mean = np.average([row["iw_bound"] for row in rows.values()])
    assert f"{mean:.3f}" in next(line for line in output.splitlines() if line.startswith("mean "))
    assert zf("score", finished, "mine.txt")[0] == 2
    assert zf("score", finished, "mine.txt", "--num-particles", 2, "--force")[0] == 0
    assert table(tmp_path / "mine-scores.csv") != rows


WRONG_TEXT = (
    (b"", "empty"),
    (b"\n \n", "empty"),
    (b"\xff\xfe", "line 1: not UTF-8"),
    (b'{"text": 3}', "line 1: no field 'text'"),
)


@pytest.mark.parametrize(
    ("file", "made"),
    [("a/ptb.test.txt.gz", "ptb.test-z"), (".hidden.txt", "hidden-z"), ("..", "work-z"), ("plain", "plain-z")],
)
def test_names_of_what_is_made_of_a_file(file, made, tmp_path, monkeypatch):
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "here")
    assert beside(Path(file), "z") == Path(made)


def test_wrong_files_and_places(zf, finished, tmp_path):
    path, output = tmp_path / "wrong.txt", tmp_path / "out"
    for content, said in WRONG_TEXT:
        path.write_bytes(content)
        for command in ("score", "encode"):
            status, _, error = zf(command, finished, path, "--output", output)
            assert (status, error.count("\n")) == (2, 1)
            assert said in error
    assert not output.exists()
    text = tmp_path / "mine.txt"
    text.write_text("a film .\n")
    for arguments, said in (
        (("score", finished, tmp_path / "absent.txt"), "no such file"),
        (("score", tmp_path, text), "is no run"),
        (("score", finished, text, "--output", tmp_path), "is a folder"),
        (("score", finished, text, "--output", tmp_path / "no" / "x.csv"), "cannot write into"),
        (("score", finished, text, "--num-particles", 0, "--output", tmp_path / "x.csv"), "num_particles"),
        (("latents", text), "is no run"),
        (("latents", finished, "--data", text), "no sentence of 5 to 16 words"),
    ):
        status, _, error = zf(*arguments)
        assert (status, error.count("\n")) == (2, 1)
        assert said in error
    assert not (tmp_path / "x.csv").exists()


def test_without_a_closed_form(run_py, zf, reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--dataset", "imdb", "--data", reviews, "--max-steps", 4, "--guide", "flow", "--alpha", 0, "--beta", 0]
    assert run_py(*options, "--output", "run", *SMALL)[0] == 0
    status, output, error = zf("latents", "run")
    assert status == 0, error
    found = json.loads((tmp_path / "run" / "latents.json").read_text())["latents"]
    assert found["kl_by_unit"] is found["active_units"] is None
    assert not found["kl_is_closed_form"]
    assert len(found["kl_by_step"]) == len(found["sequences_by_step"])
    assert "KL by units: -" in output
    (tmp_path / "my.own.txt.gz").write_bytes(gzip.compress(b"the film moves us .\n" * 3, mtime=0))
    status, output, _ = zf("encode", "run", "my.own.txt.gz")
    assert status == 0
    assert "64 paths drawn" in output
    first = (tmp_path / "my.own-latents.npz").read_bytes()
    assert zf("encode", "run", "my.own.txt.gz", "--force")[0] == 0
    assert (tmp_path / "my.own-latents.npz").read_bytes() == first


def test_states_of_no_encoder_are_refused_before_the_file_is_read(run_py, zf, reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--dataset", "imdb", "--data", reviews, "--max-steps", 4, "--guide", "prior", "--alpha", 0, "--beta", 0]
    assert run_py(*options, "--output", "run", *SMALL)[0] == 0
    status, output, error = zf("encode", "run", "absent.txt", "--encoding")
    assert (status, output, error.count("\n")) == (2, "", 1)
    assert "leave out --encoding" in error
    assert zf("encode", "run", reviews)[0] == 0


def test_without_a_latent_variable(run_py, zf, reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--dataset", "imdb", "--data", reviews, "--max-steps", 4, "--family", "rnn"]
    assert run_py(*options, "--output", "run", *SMALL, *set_all({"alpha": 0, "beta": 0}))[0] == 0
    assert zf("score", "run", reviews)[0] == 0
    for row in table(tmp_path / "reviews-scores.csv").values():
        assert row["elbo"] == pytest.approx(row["iw_bound"])
        assert row["kl"] == 0
    for arguments in (("latents", "run"), ("encode", "run", reviews)):
        status, _, error = zf(*arguments)
        assert (status, error.count("\n")) == (2, 1)
        assert "no latent variable" in error


# What a file holds, without a run.


def read(dataset, path, observation, vocabulary=None, on_lattice=False, **settings):
    """The sequences of a file by name: of text their words, of others their frames; and the remarks."""
    made = replace(preset(dataset, "quick").data, **settings)
    given = open_given(dataset, path, Reading(made, observation, vocabulary, on_lattice), print)
    return {name: given.split.scored(np.array([i])) for i, name in enumerate(given.names)}, given


def refused(*arguments, **options):
    """What is said of a file."""
    with pytest.raises(InputError) as caught:
        read(*arguments, **options)
    return str(caught.value)


def image_observation(rows=5, columns=4):
    """As of a run on images."""
    return Observation("bernoulli", 1, sequence="image", step="pixel", sample_steps=rows * columns, rows=rows)


def test_images(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2, (7, 20), dtype=np.uint8)
    np.save(tmp_path / "bits.npy", bits.reshape(7, 5, 4))
    np.savez(tmp_path / "bits.npz", a=np.packbits(bits, axis=1), b=bits[:2].astype(float))
    for how in ("fixed", "dynamic", "threshold"):
        found, _ = read("mnist", tmp_path / "bits.npy", image_observation(), binarize=how)
        assert np.array_equal(np.stack(list(found.values()))[..., 0], bits)
        assert list(found) == [str(i) for i in range(7)]
    found, _ = read("mnist", tmp_path / "bits.npz", image_observation(), binarize="fixed")
    assert list(found) == [*(f"a[{i}]" for i in range(7)), "b[0]", "b[1]"]
    assert np.array_equal(np.stack(list(found.values()))[..., 0], np.concatenate([bits, bits[:2]]))
    grey = write_images(tmp_path / "grey") / "t10k-images-idx3-ubyte.gz"
    cut, given = read("mnist", grey, image_observation(), binarize="threshold")
    assert len(cut) == 9
    assert given.remarks == ["grey became bits at half of the maximum"]
    assert "drawn once" in refused("mnist", grey, image_observation(), binarize="fixed")
    assert "5 x 4 pixels, and the run is of 4 x 5" in refused("mnist", grey, image_observation(4, 5))
    np.save(tmp_path / "grey.npy", 9 * bits)
    assert "only 0 and 1" in refused("mnist", tmp_path / "grey.npy", image_observation())
    assert "uint8 numbers of the shape (7, 3)" in refused("mnist", tmp_path / "bits.npz", image_observation(5, 5))
    (tmp_path / "text").write_text("a film\n")
    assert "line 1: 'a'" in refused("mnist", tmp_path / "text", image_observation())
    (tmp_path / "few.amat").write_text("0 1 " * 392 + "\n")
    assert "784 pixels, and the run is of 20" in refused("mnist", tmp_path / "few.amat", image_observation())
    assert len(read("mnist", tmp_path / "few.amat", image_observation(28, 28))[0]["1"]) == 784


def test_music(tmp_path):
    observation = Observation("bernoulli", 88, sequence="piece", step="frame")
    (tmp_path / "list.json").write_text(json.dumps([[[60], [60, 64]], [[]]]))
    found, _ = read("jsb", tmp_path / "list.json", observation)
    assert list(found) == ["1", "2"]
    assert [np.flatnonzero(step).tolist() for step in found["1"]] == [[39], [39, 43]]
    (tmp_path / "named.json").write_text(json.dumps({"mine": [[[60]]], "test": [[[61]], [[62]]]}))
    assert list(read("jsb", tmp_path / "named.json", observation)[0]) == ["mine 1", "test 1", "test 2"]
    held = {name: array for name, array in arrays().items() if name.endswith("test")}
    save(tmp_path / "test.npz", held)
    found, given = read("jsb", tmp_path / "test.npz", observation)
    assert all(name.startswith("test[") for name in found)
    assert given.split.batch(np.arange(len(found))).first_input_is_data
    assert given.remarks == ["the first frame of each row is conditioned on, not scored"]
    song(tmp_path / "one.mid", [on(0, 60), on(480, 60, 0)])
    assert read("jsb", tmp_path / "one.mid", observation)[0]["one.mid"].shape == (1, 88)
    (tmp_path / "broken.json").write_text("[[[60]], 3]")
    assert "broken.json, piece 2: not a list" in refused("jsb", tmp_path / "broken.json", observation)
    (tmp_path / "number.json").write_text("3")
    assert "no list of pieces" in refused("jsb", tmp_path / "number.json", observation)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    assert "begins with u_" in refused("jsb", tmp_path / "other.npz", observation)
    (tmp_path / "one.txt").write_text("60")
    assert "of no known kind" in refused("jsb", tmp_path / "one.txt", observation)


def test_arrays(tmp_path):
    observation = Observation("gaussian", 2, mean=(1.0, 0.0), std=(2.0, 4.0), limits=(-128, 127))
    np.save(tmp_path / "walk.npy", np.array([[3.0, 4.0], [1.0, -8.0], [2.5, 0.0]]))
    found, _ = read("arrays", tmp_path / "walk.npy", observation)
    assert np.array_equal(found["walk.npy"], [[1, 1], [0, -2], [0.75, 0]])
    assert "not whole, or not of -128 to 127" in refused("arrays", tmp_path / "walk.npy", observation, on_lattice=True)
    np.savez(tmp_path / "many.npz", train_a=np.zeros((2, 2)), b=np.ones((3, 4, 2)))
    assert list(read("arrays", tmp_path / "many.npz", observation, on_lattice=True)[0]) == [
        "b[0]",
        "b[1]",
        "b[2]",
        "train_a",
    ]
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    for name in ("in/a.npy", "a.npy"):
        np.save(folder / name, np.zeros((4, 2)))
    assert list(read("arrays", folder, observation)[0]) == ["a.npy", "in/a.npy"]
    assert "2 numbers a step, and 3 in the run" in refused("arrays", tmp_path / "walk.npy", Observation("bernoulli", 3))
    assert "the run is of bits" in refused("arrays", tmp_path / "walk.npy", Observation("bernoulli", 2))
    np.save(tmp_path / "nan.npy", np.full((3, 2), np.nan))
    assert "every number must be finite" in refused("arrays", tmp_path / "nan.npy", observation)
    np.save(tmp_path / "object.npy", np.array([None]), allow_pickle=True)
    assert "never read" in refused("arrays", tmp_path / "object.npy", observation)


def test_audio(tmp_path):
    observation = Observation(
        "gaussian", 200, step="frame", rate=16_000, mean=(3.0,), std=(50.0,), limits=(-(2**15), 2**15 - 1)
    )
    samples = np.random.default_rng(0).integers(-999, 999, 200 * 9 + 7).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    found, given = read("audio", tmp_path / "a.wav", observation, evaluation_length=5)
    assert list(found) == ["a.wav", "a.wav from 0.0625 s"]
    assert np.allclose(np.concatenate(list(found.values())), (samples[200:1800].reshape(8, 200) - 3) / 50, atol=1e-5)
    batch = given.split.batch(np.array([1]))
    assert batch.first_input_is_data
    assert torch.allclose(batch.inputs[0, 0], torch.tensor((samples[1000:1200] - 3) / 50).float(), atol=1e-5)
    assert list(read("blizzard", tmp_path / "a.wav", observation, evaluation_length=0)[0]) == ["a.wav"]
    (tmp_path / "a.txt").write_text("no sound")
    assert "no audio" in refused("audio", tmp_path / "a.txt", observation)
    soundfile.write(tmp_path / "short.wav", samples[:399], 16_000)
    assert "no recording of at least two frames" in refused("audio", tmp_path / "short.wav", observation)


def test_lines_of_several_files(tmp_path):
    vocabulary = Vocabulary(["a", "b", " "])
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "train.txt").write_text("a b\n\n<s> </s>\nb c <unk>\n")
    (tmp_path / "x" / "other.txt").write_text("a\n")
    observation = Observation("categorical", 7)
    found, given = read("text", tmp_path / "x", observation, vocabulary)
    assert {name: words.tolist() for name, words in found.items()} == {
        "other.txt:1": [4, 2],
        "train.txt:1": [4, 5, 2],
        "train.txt:4": [5, 3, 3, 2],
    }
    assert given.remarks == ["2 of 6 words are not among the run's 7, and are <unk>"]
    found, _ = read("text", tmp_path / "x" / "other.txt", observation, vocabulary, level="char")
    assert found["1"].tolist() == [4, 2]
    (tmp_path / "marks.txt").write_text("<s> </s>\n")
    assert "no sentence in it" in refused("text", tmp_path / "marks.txt", observation, vocabulary)
