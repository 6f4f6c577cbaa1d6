"""zf-pyro sample, continue, reconstruct and interpolate, as their user calls them."""

import errno
import json

import numpy as np
import pytest

import zf_pyro
from tests.toy_runs import TINY
from zf_pyro.data.text import Sentences, TextSettings, Vocabulary, one_sentence
from zf_pyro.errors import InputError
from zf_pyro.generation.sources import Source
from zf_pyro.media import writing

FIRST, SECOND = "The film moves us again .", "her story bores them again ."


def entries(folder):
    content = json.loads((folder / "sequences.json").read_text())
    return content, content["sequences"]


@pytest.fixture
def bits(run_py, tmp_path):
    """A run on bits of different lengths, and the file of its sequences."""
    source, run = np.random.default_rng(0), tmp_path / "bits"
    file = tmp_path / "bits.npz"
    np.savez(file, **{f"s{i:02}": source.integers(0, 2, (5 + i % 3, 2)).astype(np.uint8) for i in range(30)})
    status, _, error = run_py("--dataset", "arrays", "--data", file, *TINY, "--output", run)
    assert status == 0, error
    return run, file


def test_sentences_of_all_kinds(finished, zf, tmp_path):
    status, output, error = zf(
        "sample", finished, "-n", 3, "--output", tmp_path / "s", "--temperature", 0.7, "--top-k", 5
    )
    assert status == 0, error
    about, found = entries(tmp_path / "s")
    assert len(found) == 3
    assert about["temperature"] == 0.7
    assert all(each["sentence"] in output for each in found)

    status, output, error = zf("continue", finished, "The film zzz", "-n", 2, "--draws", 9, "--output", tmp_path / "c")
    assert status == 0, error
    assert "1 of the 3 words" in output
    assert "the prefix's 9 paths are worth" in output
    assert all(each["sentence"].startswith("the film <unk>") for each in entries(tmp_path / "c")[1])

    assert zf("continue", finished, "the film", "-n", 1, "--min-steps", 99, "--output", tmp_path / "long")[0] == 0
    (found,) = entries(tmp_path / "long")[1]
    assert len(found["sentence"].split()) == 2 + 20

    status, output, error = zf("interpolate", finished, FIRST, SECOND, "-n", 4, "--output", tmp_path / "i")
    assert status == 0, error
    _, found = entries(tmp_path / "i")
    assert [each["title"] for each in found] == ["start", "0", "0.333", "0.667", "1", "end"]
    assert found[0]["sentence"] == FIRST.lower()
    assert found[-1]["sentence"] == SECOND
    assert [each.get("share") for each in found] == [None, 0, 1 / 3, 2 / 3, 1, None]

    status, output, error = zf(
        "reconstruct", finished, "-n", 2, "--decode", "beam", "--no-unk", "--output", tmp_path / "r"
    )
    assert status == 0, error
    titles = [each["title"] for each in entries(tmp_path / "r")[1]]
    assert [title.split()[1] for title in titles] == ["original", "decoded"] * 2


def test_a_sentence_of_an_interpolation_is_that_of_the_reconstruction_in_a_file(finished, zf, tmp_path):
    file = tmp_path / "two.txt"
    file.write_text(f"{FIRST}\n{SECOND}\n")
    options = ["--latent", "best", "--draws", 5, "--seed", 3]
    assert zf("interpolate", finished, FIRST, SECOND, "-n", 2, *options, "--output", tmp_path / "i")[0] == 0
    assert zf("interpolate", finished, 0, 1, "-n", 2, "--file", file, *options, "--output", tmp_path / "f")[0] == 0
    assert zf("reconstruct", finished, file, *options, "--output", tmp_path / "r")[0] == 0
    (_, typed), (_, read), (_, rebuilt) = (entries(tmp_path / name) for name in "ifr")
    keys = "sentence", "score"
    assert [[each.get(key) for key in keys] for each in typed] == [[each.get(key) for key in keys] for each in read]
    for ours, theirs in zip(typed[1:3], rebuilt[1::2], strict=True):
        assert [ours[key] for key in keys] == [theirs[key] for key in keys]


def test_sequences_of_numbers(bits, zf, tmp_path):
    run, file = bits
    status, _, error = zf("reconstruct", run, "-n", 2, "--teacher-forced", "--output", tmp_path / "r")
    assert status == 0, error
    assert zf("continue", run, "--prefix-steps", 3, "-n", 2, "--draws", 4, "--output", tmp_path / "c")[0] == 0
    assert (
        zf("interpolate", run, 0, 1, "-n", 3, "--kind", "spherical", "--file", file, "--output", tmp_path / "i")[0] == 0
    )
    assert zf("sample", run, "-n", 2, "--latent", "mean", "--decode", "greedy", "--output", tmp_path / "s")[0] == 0
    with np.load(tmp_path / "i" / "sequences.npz") as made, np.load(file) as given:
        assert np.array_equal(made["1"], given["s00"])
        assert np.array_equal(made["5"], given["s01"])
        assert [len(made[str(i)]) for i in range(1, 6)] == [5, 5, 6, 6, 6]
        assert all(made[name].dtype == np.uint8 for name in made)
    assert zf("continue", run, 1, "--file", file, "-n", 1, "--draws", 4, "--output", tmp_path / "half")[0] == 0
    assert entries(tmp_path / "half")[0]["prefix_steps"] == 3  # of six
    with np.load(tmp_path / "c" / "sequences.npz") as made:
        assert all(np.array_equal(made[name][:3], made["1"][:3]) for name in made)
    assert (tmp_path / "r" / "sequences.png").is_file()


def test_more_sequences_than_there_are(bits, zf, tmp_path):
    status, output, error = zf("reconstruct", bits[0], "-n", 50, "--output", tmp_path / "all")
    assert status == 0, error
    numbers = [each["number_in_source"] for each in entries(tmp_path / "all")[1] if "number_in_source" in each]
    assert numbers == list(range(len(numbers)))
    assert f"the test split has {len(numbers)} sequences, and not 50" in output


def test_beyond_the_sequences_of_the_test_come_the_others():
    source = Source(Sentences(np.zeros(6, dtype=np.int32), np.arange(7)), "text", np.array([1, 4]))
    assert source.places(1) == [1]
    assert source.places(3) == [1, 4, 0]
    assert source.places(9) == [1, 4, 0, 2, 3, 5]


def test_a_folder_of_its_own_beside_the_run(bits, zf, tmp_path):
    run, _ = bits
    for number in (1, 2):
        status, output, _ = zf("sample", f"{run}/", "-n", 1)
        assert status == 0
        assert str(tmp_path / f"bits-sample-{number}") in output
    folder = tmp_path / "bits-sample-1"
    (folder / "mine.txt").write_text("kept")
    (folder / "3.wav").write_bytes(b"old")
    (folder / "3.wav.txt").write_text("kept")
    assert zf("sample", run, "-n", 1, "--output", folder)[0] == 2
    assert zf("sample", run, "-n", 2, "--output", folder, "--force")[0] == 0
    assert len(entries(folder)[1]) == 2
    assert {path.name for path in folder.iterdir()} == {
        *("mine.txt", "3.wav.txt"),
        *("sequences.json", "sequences.npz", "sequences.png"),
    }


def test_files_that_cannot_be_written_leave_the_old_ones(bits, zf, tmp_path, monkeypatch):
    folder = tmp_path / "s"
    assert zf("sample", bits[0], "-n", 3, "--output", folder)[0] == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "draw_sequences", full)
    status, _, error = zf("sample", bits[0], "-n", 2, "--output", folder, "--force")
    assert (status, error.count("\n")) == (1, 1)
    assert "No space left" in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


WRONG = {
    "an empty sentence": (["interpolate", "RUN", "", SECOND], "without a word"),
    "no prefix": (["continue", "RUN"], "name the beginning"),
    "a number that is none": (["interpolate", "RUN", "0", "x", "--file", "FILE"], "by its number"),
    "a number too high": (["interpolate", "RUN", "0", "9999", "--file", "FILE"], "no sequence 9999"),
    "one point": (["interpolate", "RUN", FIRST, SECOND, "-n", "1"], "two ends"),
    "a width of draws": (["sample", "RUN", "--width", "3"], "--width is of best and beam"),
    "a temperature of greedy": (["sample", "RUN", "--decode", "greedy", "--temperature", "2"], "draws nothing"),
    "a long prefix": (["continue", "RUN", "the film", "--steps", "2"], "leave nothing to decode"),
    "a folder of other things": (["sample", "RUN", "--output", "RUN", "--force"], "holds other things"),
    "a file as folder": (["sample", "RUN", "--output", "FILE"], "is a file"),
    "a folder in a file": (["sample", "RUN", "--output", "FILE/new/folder"], "cannot write into"),
    "a width beyond memory": (["sample", "RUN", "--decode", "beam", "--width", "9" * 30], "a smaller width"),
    "a prefix with its end": (["continue", "RUN", "the film", "--prefix-steps", "3"], "the sentence has 2"),
    "no run": (["sample", "FILE"], "is no run"),
}


def test_a_mistake_is_said_in_one_line(finished, reviews, zf, tmp_path):
    places = {"RUN": finished, "FILE": reviews}
    before = sorted(tmp_path.rglob("*"))
    for name, (words, expected) in WRONG.items():
        status, output, error = zf(*(places.get(word, word.replace("FILE/", f"{reviews}/")) for word in words))
        assert (status, error[:7], error.count("\n")) == (2, "error: ", 1), name
        assert expected in error, name
        assert "sentence\n" not in output, name  # found out before the work
        assert sorted(tmp_path.rglob("*")) == before, name


def test_what_is_of_words_is_refused_in_one_line(bits, zf):
    status, _, error = zf("sample", bits[0], "--decode", "beam")
    assert (status, error.count("\n")) == (2, 1)
    assert "beam is of text" in error


def test_a_plain_network_has_nothing_between_two_sentences(run_py, zf, reviews, tmp_path):
    run = tmp_path / "rnn"
    options = ["--dataset", "imdb", "--data", reviews, *TINY, "--family", "rnn", "--output", run]
    assert run_py(*options)[0] == 0
    for command in (["interpolate", run, FIRST, SECOND], ["reconstruct", run]):
        status, _, error = zf(*command)
        assert status == 2
        assert "no latent variable" in error
    assert zf("continue", run, "the film", "-n", 2)[0] == 0
    assert zf("sample", run, "-n", 2)[0] == 0


OWN = """
import pyro, torch
import pyro.distributions as dist
from torch import nn

class Model(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size, self.bias = size, nn.Parameter(torch.zeros(size))

    def forward(self, batch, form="step"):
        xs = []
        with pyro.plate("sequences", batch.num_sequences, dim=-1):
            for t in range(1, batch.num_steps + 1):
                with pyro.poutine.mask(mask=batch.mask[t - 1]):
                    pyro.sample(f"z_{t}", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                    target = None if batch.targets is None else batch.targets[t - 1]
                    xs.append(pyro.sample(f"x_{t}", dist.Bernoulli(logits=self.bias).to_event(1), obs=target))
        return torch.stack(xs)

class Inference(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(3))

    def forward(self, batch, form="step"):
        with pyro.plate("sequences", batch.num_sequences, dim=-1):
            for t in range(1, batch.num_steps + 1):
                with pyro.poutine.mask(mask=batch.mask[t - 1]):
                    pyro.sample(f"z_{t}", dist.Normal(self.mean, 1.0).to_event(1))

def pair(config, observation):
    return Model(observation.size), Inference()
"""


def test_of_programs_of_ones_own_plain_samples_are_known(bits, zf, run_py, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "programs_of_mine.py").write_text(OWN)
    run, options = tmp_path / "own", ["--family", "programs_of_mine:pair", "--form", "step", "--alpha", 0, "--beta", 0]
    status, _, error = run_py("--dataset", "arrays", "--data", bits[1], *TINY, *options, "--output", run)
    assert status == 0, error
    assert zf("sample", run, "-n", 2, "--output", tmp_path / "s", "--trust")[0] == 0
    assert all("score" not in each for each in entries(tmp_path / "s")[1])
    for command in (
        ["sample", run, "--decode", "greedy"],
        ["continue", run],
        ["reconstruct", run],
        ["interpolate", run, 0, 1],
    ):
        status, _, error = zf(*command, "--trust")
        assert (status, error.count("\n")) == (2, 1)
        assert "program of one's own" in error


def test_a_typed_sentence_is_cut_as_the_runs_text_was():
    words, spaced = Vocabulary(["this", "is", "n't", "it", "."]), Vocabulary(["Is", "it", "?"])
    decoded = words.decode(one_sentence("This <br/>isn't it .", TextSettings(), words))
    assert decoded == "this is n't it ."
    assert spaced.decode(one_sentence("<s> Is it n't ?", TextSettings(lines="sentences"), spaced)) == "Is it <unk> ?"
    letters = Vocabulary(["a", "b", " "])
    assert letters.decode(one_sentence(" a  b\n", TextSettings(level="char"), letters)) == "a b"
    for text, settings in (
        ("  ", TextSettings()),
        ("<s>", TextSettings(lines="sentences")),
        ("", TextSettings(level="char")),
    ):
        with pytest.raises(InputError, match="a sentence without"):
            one_sentence(text, settings, words)


def test_what_the_package_exports():
    for name in ("Decoded", "Decoder", "decode", "continue_prefix", "interpolate", "reconstruct"):
        assert hasattr(zf_pyro, name)
        assert name in zf_pyro.__all__
