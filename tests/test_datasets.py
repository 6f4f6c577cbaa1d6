"""Every kind of data from its files to the results of a run, and what a user sees of it."""

import gzip
import json
import struct

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread

import zf_pyro
from tests.toy_runs import SIZES, set_all, toy_documents
from tests.updates import after_update, ctrl_c
from zf_pyro import Bernoulli, Categorical, DiagonalGaussian, experiment, runs
from zf_pyro.build import build
from zf_pyro.data.corpus import Observation
from zf_pyro.data.datasets import DATASETS, open_data
from zf_pyro.presets import PRESETS

SHORT = ["--preset", "quick", "--max-steps", 4, "--eval-sequences", 5, "--batch-size", 4]
SHORT += set_all({**SIZES, "validate_every": 2, "num_samples": 10})


def write_images(folder, sizes=(30, 9)):
    """Idx files of random grey images of 5 x 4 pixels."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, count in zip(("train", "t10k"), sizes, strict=True):
        pixels = random.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        header = struct.pack(">4i", 2051, count, 5, 4)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes(), mtime=0))
    return folder


def write_chorales(path):
    """Random pieces as lists of notes."""
    random = np.random.default_rng(0)
    pieces = [[random.choice(np.arange(50, 60), 3).tolist() for _ in range(n)] for n in random.integers(4, 12, 20)]
    path.write_text(json.dumps({"train": pieces[:10], "valid": pieces[10:14], "test": pieces[14:]}))
    return path


def write_walks(path):
    """Random walks in two dimensions, of different lengths."""
    random = np.random.default_rng(0)
    lengths = random.integers(4, 12, 30)
    np.savez(path, **{f"walk{i}": 500 + 5 * random.normal(size=(n, 2)).cumsum(0) for i, n in enumerate(lengths)})
    return path


def write_sound(folder):
    """Noise of 21 to 29 frames and a bit."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        samples = random.normal(20, 500, 4_250 + 200 * (i % 9)).astype(np.int16)
        soundfile.write(folder / f"{i}.wav", samples, 16_000)
    return folder


def write_bits(folder):
    """Bits in files whose names say their splits."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(16):
        split = ("train", "train", "val", "test")[i % 4]
        np.save(folder / f"{split}_{i}.npy", random.integers(0, 2, (6, 3)))
    return folder


@pytest.fixture
def sources(tmp_path):
    """Options that name a small source of each kind, by the kind."""
    sentences = tmp_path / "ptb"
    sentences.mkdir()
    for split, seed in (("train", 0), ("valid", 1), ("test", 2)):
        (sentences / f"ptb.{split}.txt").write_text("\n".join(toy_documents(20, seed)))
    return {
        "images": ["mnist", "--data", write_images(tmp_path / "images")],
        "music": ["jsb", "--data", write_chorales(tmp_path / "chorales.json")],
        "reals": ["arrays", "--data", write_walks(tmp_path / "walks.npz")],
        "sound": ["audio", "--data", write_sound(tmp_path / "sound")],
        "bits": ["arrays", "--data", write_bits(tmp_path / "bits")],
        "sentences": ["text", "--data", sentences],
        "characters": ["text", "--data", sentences, "--level", "char"],
    }


KINDS = ["images", "music", "reals", "sound", "bits", "sentences", "characters"]
UNITS = {
    "images": ("image", "pixel"),
    "music": ("piece", "frame"),
    "reals": ("sequence", "step"),
    "sound": ("row", "frame"),
    "bits": ("sequence", "step"),
    "sentences": ("sentence", "token"),
    "characters": ("sentence", "character"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_on_every_kind_of_data(run_py, zf, sources, tmp_path, kind):
    folder = tmp_path / "run"
    status, output, error = run_py("--dataset", *sources[kind], *SHORT, "--output", folder)
    assert status == 0, error
    results = json.loads((folder / "results.json").read_text())
    sequence, step = UNITS[kind]
    assert (results["sequence"], results["step"]) == (sequence, step)
    assert f"nats per {sequence}" in output
    assert f"per {step}" in output
    test = results["test"]
    assert test["elbo_per_step"] * test["num_steps"] == pytest.approx(test["elbo"] * test["num_sequences"])
    assert test["iw_bound_per_step"] >= test["elbo_per_step"]
    for name in ("elbo", "iw_bound"):
        assert f"{test[name]:.3f} +- {test[name + '_se']:.3f} nats per {sequence}" in output
        assert f"{test[name + '_per_step']:.4f} per {step}" in output
    assert ("perplexity" in test) == (kind in ("sentences", "characters"))
    if "perplexity" in test:
        assert test["perplexity"] == pytest.approx(np.exp(-test["iw_bound_per_step"]))
        assert test["perplexity_elbo"] == pytest.approx(np.exp(-test["elbo_per_step"]))
    assert ("bits_per_character" in test) == (kind == "characters")
    if kind == "characters":
        assert 2 ** test["bits_per_character"] == pytest.approx(test["perplexity"])
    assert ("elbo_original" in test) == (kind in ("reals", "sound"))
    assert zf("evaluate", folder)[0] == 0
    again = json.loads((folder / f"evaluation-{test['num_particles']}.json").read_text())
    assert again["test"] == test
    run = zf_pyro.load(folder)
    assert (run.vocabulary is not None) == (kind in ("sentences", "characters"))
    corpus = open_data(run.config.dataset, run.config.source, run.config.data, say=print)
    assert corpus.observation == run.observation
    batch = corpus.test.batch(np.arange(3))
    assert zf_pyro.importance_weights(run.model, run.guide, batch, 2).log_weights.isfinite().all()


@pytest.mark.parametrize("kind", ["images", "music", "reals", "bits"])
def test_samples_are_in_the_units_of_the_data(run_py, sources, tmp_path, kind):
    folder = tmp_path / "run"
    assert run_py("--dataset", *sources[kind], *SHORT, "--output", folder, pictures=kind == "bits")[0] == 0
    assert (folder / "samples.png").is_file()
    if kind == "bits":
        assert imread(folder / "samples.png").std() > 0.01
    samples = np.load(folder / "samples.npz")["samples"]
    observation = zf_pyro.load(folder).observation
    assert samples.shape == (10, observation.sample_steps, observation.size)
    if kind == "reals":
        walks = np.concatenate([walk for _, walk in sorted(np.load(sources[kind][2]).items())])
        assert abs(samples.mean() - walks.mean()) < walks.std()
        assert 0.3 * walks.std() < samples.std() < 3 * walks.std()
    else:
        assert set(np.unique(samples)) == {0, 1}
    assert (
        run_py("--dataset", "arrays", "--data", folder / "samples.npz", *SHORT, "--output", tmp_path / "again")[0] == 0
    )


def test_original_units_differ_by_the_scale(run_py, sources, tmp_path):
    folder = tmp_path / "run"
    assert run_py("--dataset", *sources["reals"], *SHORT, "--output", folder)[0] == 0
    test = json.loads((folder / "results.json").read_text())["test"]
    config = zf_pyro.load(folder).config
    corpus = open_data("arrays", config.source, config.data, say=print)
    mean, std = np.array(corpus.observation.mean), np.array(corpus.observation.std)
    shown = [corpus.train.scored(np.array([i])) * std + mean for i in range(len(corpus.train.lengths))]
    walks = list(np.load(sources["reals"][2]).values())
    trained = [walk for walk in walks if any(walk.shape == each.shape and np.allclose(walk, each) for each in shown)]
    assert len(trained) == len(shown) < len(walks)
    std = np.concatenate(trained).std(0)
    shift = test["num_steps"] / test["num_sequences"] * np.log(std).sum()
    assert test["elbo"] - test["elbo_original"] == pytest.approx(shift, rel=1e-6)
    assert test["iw_bound"] - test["iw_bound_original"] == pytest.approx(shift, rel=1e-6)


def test_every_epoch_draws_its_own_bits_and_a_resumed_run_the_same(run_py, sources, tmp_path, monkeypatch):
    """25 training images, 5 batches an epoch: stopped in the second epoch, and gone on with."""
    options = ["--dataset", *sources["images"], *SHORT, "--set", "max_steps=10", "--set", "batch_size=5"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    seen = []
    real = experiment.Trainer.update

    def update(trainer, places, batch):
        seen.append(int(batch.targets.sum()))
        return real(trainer, places, batch)

    monkeypatch.setattr(experiment.Trainer, "update", update)
    assert run_py(*options, "--output", whole)[0] == 0
    first, second = sum(seen[:5]), sum(seen[5:])
    assert first != second
    with monkeypatch.context() as patch:
        after_update(patch, 7, ctrl_c)
        assert run_py(*options, "--output", stopped)[0] == 130
    assert run_py("--resume", stopped)[0] == 0
    assert seen[:10] == seen[10:]
    assert (whole / "results.json").read_bytes() == (stopped / "results.json").read_bytes()
    assert 'binarize = "dynamic"' in (whole / "config.toml").read_text()


def test_binarize_is_an_option(run_py, sources, tmp_path):
    options = ["--dataset", *sources["images"], *SHORT, "--binarize", "threshold", "--output", tmp_path / "run"]
    status, output, error = run_py(*options)
    assert status == 0, error
    assert "(threshold)" in output
    assert zf_pyro.load(tmp_path / "run").config.data.binarize == "threshold"


def test_samples_come_from_their_seed():
    observation = Observation("bernoulli", 3)
    config = PRESETS["digits"]["quick"]
    run = zf_pyro.LoadedRun(*build(config.model, observation), config, observation, None)
    drawn = [np.stack([each.sequence for each in zf_pyro.decode(run, 9, count=4, seed=seed)]) for seed in (0, 0, 1)]
    assert drawn[0].shape == (4, 9, 3)
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


def test_seeds_are_tested_on_the_same_bits(run_py, sources, tmp_path):
    def marginal(seed):
        folder = tmp_path / str(seed)
        assert run_py("--dataset", *sources["images"], *SHORT, "--seed", seed, "--output", folder)[0] == 0
        return json.loads((folder / "results.json").read_text())["test"]["marginal"]

    assert marginal(0) == marginal(1)


def test_other_data_is_noticed(run_py, zf, sources, tmp_path):
    folder = tmp_path / "run"
    assert run_py("--dataset", *sources["bits"], *SHORT, "--output", folder)[0] == 0
    path = sources["bits"][2] / "test_3.npy"
    np.save(path, 1 - np.load(path))
    status, _, error = zf("evaluate", folder)
    assert (status, error.count("\n")) == (2, 1)
    assert "not the data that" in error


@pytest.mark.parametrize("kind", KINDS)
def test_data_shows_every_kind(zf, sources, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    status, output, error = zf("data", *sources[kind])
    assert status == 0, error
    lines = output.splitlines()
    sequence, step = UNITS[kind]
    header = next(line.split() for line in lines if line.startswith("split"))
    assert header[1:3] == [f"{sequence}s", f"{step}s"]
    assert [line.split()[0] for line in lines if line.startswith(("train ", "valid ", "test "))] == [
        *("train", "valid", "test")
    ]
    assert (tmp_path / f"{sources[kind][0]}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("no_ink")
def test_a_picture_of_data_overwrites_none_unasked(zf, sources, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / "arrays.png"
    picture.write_bytes(b"mine")
    assert "Drawn: arrays-2.png" in zf("data", *sources["bits"])[1]
    assert picture.read_bytes() == b"mine"
    assert "Drawn: arrays.png" in zf("data", *sources["bits"], "--force")[1]
    assert picture.read_bytes() != b"mine"
    assert zf("data", *sources["bits"], "--png", "other.png")[0] == 0
    status, _, error = zf("data", *sources["bits"], "--png", "other.png")
    assert (status, error.count("\n")) == (2, 1)
    assert "--force" in error
    status, _, error = zf("data", *sources["bits"], "--png", "other.jpg")
    assert (status, error.count("\n")) == (2, 1)
    assert "--png draws a .png" in error


def test_presets_and_data_sets_are_the_same():
    assert set(PRESETS) == set(DATASETS)
    for name, presets in PRESETS.items():
        assert set(presets) == {"paper", "quick"}
        for label, config in presets.items():
            assert (config.dataset, config.preset) == (name, label)


LAWS = {
    **dict.fromkeys(("imdb", "text"), (Observation("categorical", 16_004), Categorical)),
    **dict.fromkeys(("mnist", "digits"), (Observation("bernoulli", 1), Bernoulli)),
    **dict.fromkeys(("jsb", "nottingham", "piano", "muse"), (Observation("bernoulli", 88), Bernoulli)),
    **dict.fromkeys(("timit", "blizzard", "audio", "arrays"), (Observation("gaussian", 200), DiagonalGaussian)),
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_a_model_for_its_data(name):
    observation, emission = LAWS[name]
    for config in PRESETS[name].values():
        with torch.device("meta"):  # parameters without numbers, which take long to draw
            model, guide = build(config.model, observation)
        assert type(model.emission) is type(guide.backward) is emission
        assert emission is not Categorical or isinstance(model.embedding, torch.nn.Embedding)
        assert (guide.embedding is None) == config.model.share_embedding
        if emission is DiagonalGaussian:
            is_sound = name != "arrays"
            assert model.emission.clamp == guide.backward.clamp == (None if is_sound else 8)
        if config.model.emission_skip:
            assert model.emission.reads == ("feature", "input")
            assert model.emission.network[0].out_features == config.model.mlp_size


@pytest.mark.parametrize(("name", "millions"), [("imdb", 27), ("mnist", 16)])
def test_the_papers_sizes(name, millions):
    """Near the numbers of parameters that the authors' layouts have at these sizes."""
    with torch.device("meta"):
        model, guide = build(PRESETS[name]["paper"].model, LAWS[name][0])
    assert sum(p.numel() for module in (model, guide) for p in module.parameters()) == pytest.approx(
        millions * 1e6, rel=0.15
    )


WRONG = {
    "no data": (["arrays"], "--data PATH"),
    "nowhere": (["arrays", "--data", "nowhere.npz"], "no such file"),
    "digits from a file": (["digits", "--data", "."], "leave out --data"),
    "download": (["jsb", "--download"], "imdb alone"),
    "level of music": (["jsb", "--data", ".", "--level", "char"], "no jsb field 'level'"),
    "bits of text": (["imdb", "--binarize", "fixed"], "no imdb field 'binarize'"),
    "wrong way": (["mnist", "--data", ".", "--binarize", "round"], "'round' is not one of"),
    "no images": (["mnist", "--data", "."], "no images of MNIST"),
    "no music": (["muse", "--data", "."], "."),
    "no arrays": (["arrays", "--data", "."], "nothing to read"),
    "no text": (["text", "--data", "."], "no .txt file"),
    "text without a place": (["text"], "--data PATH"),
    "speech without a place": (["blizzard"], "--data PATH"),
    "no audio": (["audio", "--data", "."], "no audio; give a folder of audio files"),
    "no TIMIT": (["timit", "--data", "."], "no audio; give a folder of audio files"),
    "protocol of an audiobook": (["blizzard", "--data", ".", "--protocol", "srnn"], "no blizzard field 'protocol'"),
    "unknown protocol": (["timit", "--data", ".", "--protocol", "vrnn"], "'vrnn' is not one of"),
    "a rate of none": (["audio", "--data", ".", "--set", "sample_rate=0"], "at least 1,000"),
}


@pytest.mark.parametrize("command", ["train", "data"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_is_one_line(zf, tmp_path, monkeypatch, command, name):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    (dataset, *options), hint = WRONG[name]
    status, _, error = zf(command, *(["--dataset"] if command == "train" else []), dataset, *options)
    assert (status, error.count("\n")) == (2, 1)
    assert hint in error
    assert not list((tmp_path / "empty").iterdir())


def test_a_damaged_observation_is_one_line(zf, run_py, sources, tmp_path):
    folder = tmp_path / "run"
    assert run_py("--dataset", *sources["bits"], *SHORT, "--output", folder)[0] == 0
    good = (folder / runs.OBSERVATION).read_text()
    changed = [good.replace('"size": 3', '"size": "x"'), good.replace('"rows": 0', '"rows": null')]
    changed += [good.replace("bernoulli", "poisson"), good.replace("bernoulli", "gaussian")]
    assert all(text != good for text in changed)
    for text in (*changed, "", "[]", '{"law": "bernoulli"}', '{"law": "bernoulli", "size": 3, "mean": 1, "std": []}'):
        (folder / runs.OBSERVATION).write_text(text)
        status, _, error = zf("evaluate", folder)
        assert (status, error.count("\n")) == (2, 1)
        assert "observation.json" in error
