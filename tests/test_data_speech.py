"""TIMIT, audiobooks and any recordings: which are in which split, and what is scored of them."""

from __future__ import annotations

import csv
import hashlib
import importlib
import math
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.shared import shared_file
from tests.sounds import (
    FRAME,
    RATE,
    SMALL,
    lengthened,
    names_of,
    noise,
    recordings,
    spoken,
    whole,
    write,
    write_timit,
)
from tests.toy_runs import SIZES
from zf_pyro import summary
from zf_pyro.build import build
from zf_pyro.config import ModelConfig, TrainingConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.data.datasets import open_data
from zf_pyro.data.speech import SpeechSettings, TimitSettings, load_audio, load_timit, prepare_audio
from zf_pyro.data.speech.collection import collect
from zf_pyro.data.speech.waveforms import Waveforms
from zf_pyro.data.splits import SPLITS
from zf_pyro.errors import InputError

AUDIO = SpeechSettings(valid_fraction=0.2, test_fraction=0.2, chunk_length=10, evaluation_length=15)
BLIZZARD = SpeechSettings(valid_fraction=0.2, test_fraction=0.2, chunk_length=10, evaluation_length=15, full_rows=True)


def said(load, *arguments, **options):
    """A corpus, and that nothing was said but that audio is being prepared."""
    lines = []
    corpus = load(*arguments, say=lines.append, **options)
    assert all(line.startswith("Preparing ") for line in lines)
    return corpus


def sizes(corpus):
    """How many sequences are in each split."""
    return tuple(len(getattr(corpus, split).lengths) for split in SPLITS)


def moments(samples):
    """Mean and standard deviation of the samples of some recordings together."""
    together = np.concatenate([each.astype(float) for each in samples])
    return together.mean(), together.std()


def failure(load, *arguments, **options):
    """The one line that says what is wrong; it names the source."""
    with pytest.raises(InputError) as caught:
        load(*arguments, say=lambda line: None, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(arguments[0]) in message
    return message


# TIMIT


def numbers(split):
    """Which numbered utterances are in a split whose sequences are whole ones."""
    return [int(samples[0, 0]) for samples in whole(split)]


def utterances_of(corpus):
    """The names of the recordings of each split, by their numbers; training's rows may be parts of them."""
    rate = corpus.train.mean, corpus.train.std
    assert rate == (corpus.valid.mean, corpus.valid.std) == (corpus.test.mean, corpus.test.std)
    return {
        name: [int(getattr(corpus, name).tape.read(s, s + 1)[0]) for s in getattr(corpus, name).tape.starts]
        for name in SPLITS
    }


@pytest.fixture(scope="module")
def ldc(tmp_path_factory):
    """A corpus of LDC93S1's size."""
    names = names_of(462, 168)
    return write_timit(tmp_path_factory.mktemp("ldc") / "TIMIT", names), names


def test_a_whole_corpus_has_the_official_counts_whatever_its_letters_and_its_files(ldc, tmp_path):
    """As LDC distributes it; and in small letters, some speakers in flac and the others linked to."""
    root, names = ldc
    assert len(set(names)) == 6_300
    small = tmp_path / "data" / "timit"
    for number, name in enumerate(names):
        path = small / f"{name}.wav".lower()
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 30 < 10:
            soundfile.write(path.with_suffix(".flac"), spoken(number), RATE)
        else:
            path.symlink_to(root / f"{name}.WAV")
    found = []
    for place in (root, small.parent):
        corpus = said(load_timit, place, TimitSettings())
        assert sizes(corpus) == (4_389, 231, 1_680)
        assert "4,389 / 231 / 1,680 utterances" in corpus.source
        assert "not the whole corpus" not in corpus.source
        assert "sample of TIMIT" not in corpus.source
        assert "left out" not in corpus.source
        assert numbers(corpus.test) == sorted(range(4_620, 6_300), key=lambda n: names[n].split("/"))
        found.append((numbers(corpus.train), numbers(corpus.valid)))
        assert sorted([*found[-1][0], *found[-1][1]]) == list(range(4_620))
        assert corpus.train.lengths.tolist() == [2] * 4_389
    assert found[0] == found[1]


TIMIT = TimitSettings(valid_fraction=0.1, chunk_length=3)


@pytest.fixture
def few(tmp_path):
    """The folder that holds a small corpus of utterances of different lengths."""
    return write_timit(tmp_path / "few" / "TIMIT", SMALL, length=lengthened).parent


def test_the_folder_above_and_the_corpus_itself_are_the_same(few):
    above, itself = (said(load_timit, place, TIMIT) for place in (few, few / "TIMIT"))
    assert above.fingerprint == itself.fingerprint
    assert utterances_of(above) == utterances_of(itself)
    assert "54 / 6 / 30 utterances" in above.source
    assert "not the whole corpus, which has 4,620 and 1,680 of them" in above.source
    assert (above.observation.sequence, above.observation.step) == ("utterance", "frame")


def test_without_a_test_part_it_is_a_sample_split_by_speaker(few):
    corpus = said(load_timit, few / "TIMIT" / "TRAIN", TIMIT)
    assert "a sample of TIMIT, without its test part: 6 speakers, split by speaker" in corpus.source
    assert "not the whole corpus" not in corpus.source
    speakers = {name: {SMALL[n].split("/")[2] for n in chosen} for name, chosen in utterances_of(corpus).items()}
    assert [len(speakers[name]) for name in SPLITS] == [4, 1, 1]
    assert len(set.union(*speakers.values())) == 6
    assert sorted(n for chosen in utterances_of(corpus).values() for n in chosen) == list(range(60))


def test_a_copy_in_small_letters_or_of_other_files_has_the_same_splits(few, tmp_path):
    chosen = utterances_of(said(load_timit, few, TIMIT))
    for name, suffix in (("wav", ".wav"), ("flac", ".flac")):
        copy = write_timit(tmp_path / name, [each.lower() for each in SMALL], suffix, length=lengthened)
        assert utterances_of(said(load_timit, copy, TIMIT)) == chosen


def test_second_copies_count_once_and_other_audio_is_left_out(few):
    plain = said(load_timit, few, TIMIT)
    chosen = utterances_of(plain)
    for name in SMALL:
        shutil.copy(few / "TIMIT" / f"{name}.WAV", few / "TIMIT" / f"{name}.WAV.wav")
    write(few / "TIMIT" / "DOC" / "hello.wav", noise(5_000))
    write(few / "TIMIT" / "TRAIN" / "DR9" / "FAAA0" / "SA1.wav", noise(5_000))
    write(few / "flat" / "DR1" / "FZZZ0" / "SA1.wav", noise(5_000))  # of which part?
    corpus = said(load_timit, few, TIMIT)
    assert corpus.fingerprint == plain.fingerprint
    assert utterances_of(corpus) == chosen
    assert "93 audio files left out that are second copies, or not named as utterances are" in corpus.source
    assert "audio files left out" not in plain.source


def test_nothing_named_as_utterances_are_is_refused(tmp_path):
    recordings(tmp_path / "a")
    assert "no file named as TIMIT's are, TRAIN/DR1/FCJF0/SA1.WAV" in failure(load_timit, tmp_path / "a", TIMIT)


@pytest.mark.parametrize("speakers", [1, 2])
def test_fewer_speakers_than_splits_are_refused(tmp_path, speakers):
    write_timit(tmp_path / "a", names_of(speakers, 0))
    assert f"{speakers} speakers; at least 3 are needed" in failure(load_timit, tmp_path / "a", TIMIT)


def expected_rows(samples, chunk):
    """u_1 and the scored frames of the rows of one recording, (n + 1, 200) each."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    size = chunk or len(frames) - 1
    return [frames[start : start + size + 1] for start in range(0, len(frames) - 1, size)]


def assert_rows(split, expected):
    """The sequences of a split are these, in this order, in samples and normalised."""
    for ours, theirs in zip(whole(split), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    index = len(expected) // 2
    batch = split.batch(np.array([index]))
    row = (expected[index].astype(float) - split.mean) / split.std
    np.testing.assert_allclose(batch.inputs[:, 0].numpy(), row[:-1], atol=1e-5)
    np.testing.assert_allclose(batch.targets[:, 0].numpy(), row[1:], atol=1e-5)
    assert batch.first_input_is_data


def test_utterances_are_cut_within_themselves_and_those_of_the_test_are_whole(few):
    corpus = said(load_timit, few, TIMIT)
    chosen = utterances_of(corpus)
    samples = [spoken(n, lengthened(n)) for n in range(len(SMALL))]
    for name, chunk in (("train", 3), ("valid", 0), ("test", 0)):
        assert_rows(getattr(corpus, name), [row for n in chosen[name] for row in expected_rows(samples[n], chunk)])
    mean, std = moments([samples[n] for n in chosen["train"]])
    assert corpus.observation.mean == pytest.approx((mean,), rel=1e-12)
    assert corpus.observation.std == pytest.approx((std,), rel=1e-12)
    assert set(chosen["test"]) == set(range(60, 90))


def test_the_published_stream_joins_the_utterances_of_training_and_of_validation(few):
    own = said(load_timit, few, TIMIT)
    corpus = said(load_timit, few, TimitSettings(valid_fraction=0.1, chunk_length=4, protocol="srnn"))
    chosen = utterances_of(corpus)
    assert chosen == utterances_of(own)
    for name in ("train", "valid"):
        stream = np.concatenate([spoken(n, lengthened(n)) for n in chosen[name]])
        rows = [row for row in expected_rows(stream, 4) if len(row) == 5]
        assert_rows(getattr(corpus, name), rows)
        frames = len(stream) // FRAME
        assert int(getattr(corpus, name).lengths.sum()) == len(rows) * 4 == (frames - 1) // 4 * 4
    assert_rows(corpus.test, whole(own.test))
    assert corpus.fingerprint != own.fingerprint


def test_rows_of_the_stream_are_of_forty_frames(few):
    corpus = said(load_timit, few, TimitSettings(valid_fraction=0.15, protocol="srnn"))
    total = sum(lengthened(n) for n in utterances_of(corpus)["train"]) // FRAME
    assert corpus.train.lengths.tolist() == [40] * ((total - 1) // 40)
    assert corpus.train.starts.tolist() == [8_000 * i for i in range((total - 1) // 40)]
    assert set(corpus.valid.lengths.tolist()) == {40}


# Real data


def test_every_sample_of_the_real_utterances(own_cache):
    folder = shared_file("timit_nltk")
    found = collect(folder, TimitSettings(), lambda line: None)
    with (folder / "manifest.csv").open(newline="") as file:
        told = {row["path"]: row for row in csv.DictReader(file)}
    assert len(found.pieces) == len(told) == 160
    tape = found.tape(range(160))
    for piece, start, end in zip(found.pieces, tape.starts, tape.ends, strict=True):
        samples = tape.read(int(start), int(end))
        assert len(samples) == piece.samples == int(told[piece.name]["samples"])
        digest = hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()
        assert digest[:16] == told[piece.name]["sha256_16_of_pcm"]
    joined = Waveforms.of(tape, frame_size=FRAME, mean=0.0, std=1.0, joined=True)
    assert joined.lengths.tolist() == [39_206]
    assert joined.frames(0).shape == (39_207, FRAME)
    corpus = said(load_timit, folder, TimitSettings())
    assert "without its test part: 16 speakers, split by speaker" in corpus.source
    assert sum(len(each) for each in utterances_of(corpus).values()) == 160


def test_every_sample_of_the_real_reader(own_cache):
    found = collect(shared_file("blizzard_standin"), BLIZZARD, lambda line: None)
    assert len(found.pieces) == 185
    assert sum(piece.samples for piece in found.pieces) == 8_824_280


# Audiobooks and other recordings


def test_renaming_and_reordering_changes_nothing(tmp_path):
    found = recordings(tmp_path / "a")
    for i, samples in enumerate(reversed(found.values())):
        write(tmp_path / "b" / f"chapter {i % 2}" / f"{i}.wav", samples)
    ours, theirs = (said(load_audio, tmp_path / name, AUDIO) for name in "ab")
    for name in SPLITS:
        one, other = (sorted(each.tobytes() for each in whole(getattr(c, name))) for c in (ours, theirs))
        assert one == other
    assert sizes(ours) == sizes(theirs)
    assert ours.observation == theirs.observation
    another = said(load_audio, tmp_path / "a", SpeechSettings(**{**vars(AUDIO), "split_seed": 1}))
    assert another.fingerprint != ours.fingerprint


@pytest.mark.parametrize("settings", [AUDIO, BLIZZARD])
def test_every_frame_that_is_scored_follows_its_input_in_the_same_recording(tmp_path, settings):
    found = recordings(tmp_path / "a")
    corpus = said(load_audio, tmp_path / "a", settings, named=not settings.full_rows)
    seen = []
    for name in SPLITS:
        split = getattr(corpus, name)
        chunk = settings.chunk_length if name == "train" else settings.evaluation_length
        files = [
            i
            for i, samples in enumerate(found.values())
            if any(np.array_equal(samples[:400], split.tape.read(s, s + 400)) for s in split.tape.starts.tolist())
        ]
        rows = [row for i in files for row in expected_rows(found[f"{i}.wav"], chunk)]
        assert_rows(split, [row for row in rows if len(row) == chunk + 1 or not settings.full_rows])
        seen += files
        if settings.full_rows:
            assert set(split.lengths.tolist()) == {chunk}
    assert sorted(seen) == list(range(10))
    assert ("which are less than a row at the end of a recording" in corpus.source) == settings.full_rows


def test_how_many_frames_are_left_out_is_said(tmp_path):
    found = recordings(tmp_path / "a")
    corpus = said(load_audio, tmp_path / "a", BLIZZARD, named=False)
    frames = sum(len(samples) // FRAME - 1 for samples in found.values())
    kept = sum(int(getattr(corpus, name).lengths.sum()) for name in SPLITS)
    assert f"{frames - kept:,} of {frames:,} frames left out" in corpus.source


def in_folders(root, places):
    for i, place in enumerate(places):
        write(root / place / f"{i}.wav", noise(4_250, seed=i))
    return root


@pytest.mark.parametrize("inner", ["", "deep/"])
def test_folders_named_as_splits_are_splits_of_audio_and_not_of_an_audiobook(tmp_path, inner):
    root = in_folders(tmp_path / "a", [f"{inner}{name}" for name in ["Train"] * 6 + ["dev"] * 2 + ["test"] * 3])
    settings = SpeechSettings(chunk_length=0, evaluation_length=0)
    corpus = said(load_audio, root, settings)
    assert sizes(corpus) == (6, 2, 3)
    for split, numbered in ((corpus.train, range(6)), (corpus.valid, range(6, 8)), (corpus.test, range(8, 11))):
        assert_rows(split, [expected_rows(noise(4_250, seed=i), 0)[0] for i in sorted(numbered, key=str)])
    book = open_data("blizzard", str(root), settings, say=lambda line: None)
    assert sizes(book) == (9, 1, 1)
    assert book.fingerprint != corpus.fingerprint


def test_the_name_of_a_file_is_no_folder(tmp_path):
    for i in range(5):
        write(tmp_path / "a" / f"{'test' if i == 3 else 'train'} {i}.wav", noise(4_250, seed=i))
    assert sum(sizes(said(load_audio, tmp_path / "a", SpeechSettings(chunk_length=0)))) == 5


def test_folders_named_train_without_test_are_no_splits(tmp_path):
    root = in_folders(tmp_path / "a", ["train"] * 9 + [""])
    assert sizes(said(load_audio, root, SpeechSettings(chunk_length=0))) == (8, 1, 1)
    dev = in_folders(tmp_path / "b", ["train"] * 4 + ["dev"])
    assert "4 training and 0 test recordings" in failure(load_audio, dev, AUDIO)


def test_some_recordings_outside_of_such_folders_are_refused(tmp_path):
    root = in_folders(tmp_path / "a", ["train", "train", "test", "other"])
    message = failure(load_audio, root, AUDIO)
    assert "other/3.wav is in no folder named train, valid or test" in message
    assert sizes(said(load_audio, root, AUDIO, named=False))


def test_too_few_recordings_are_refused(tmp_path):
    recordings(tmp_path / "a", 2)
    assert "2 recordings; at least 3 are needed" in failure(load_audio, tmp_path / "a", AUDIO)
    root = in_folders(tmp_path / "b", ["train", "test"])
    assert "1 training and 1 test recordings; at least 2 and 1 are needed" in failure(load_audio, root, AUDIO)


def test_recordings_of_less_than_two_frames_are_left_out_or_refused(tmp_path):
    recordings(tmp_path / "a", 4, least=100, step=99)
    assert "no recording of at least two frames, 400 samples" in failure(load_audio, tmp_path / "a", AUDIO)
    for i in range(3):
        write(tmp_path / "a" / f"long {i}.wav", noise(400, seed=i))
    corpus = said(load_audio, tmp_path / "a", AUDIO)
    assert sizes(corpus) == (1, 1, 1)
    assert "left out as shorter than two frames: 4 (0.wav, 1.wav, 2.wav, ..)" in corpus.source


def test_recordings_of_less_than_a_row_are_refused_where_rows_are_full(tmp_path):
    recordings(tmp_path / "a", 6, least=2_200, step=0)  # ten frames to score
    assert sizes(said(load_audio, tmp_path / "a", AUDIO)) == (4, 1, 1)
    assert "no full row in the valid split; lower chunk_length" in failure(
        load_audio, tmp_path / "a", BLIZZARD, named=False
    )


@pytest.mark.parametrize("level", [0, -3])
def test_silent_training_recordings_are_refused(tmp_path, level):
    for i in range(5):
        name, samples = ("train", np.full(4_000 + i, level, np.int16)) if i < 4 else ("test", noise(4_000))
        write(tmp_path / "a" / name / f"{i}.wav", samples)
    assert "the training recordings are silent: all their samples are equal" in failure(
        load_audio, tmp_path / "a", AUDIO
    )


# What stands at a step


def test_training_is_normalised_by_its_own_moments(tmp_path):
    recordings(tmp_path / "a", least=4_200, mean=100)
    corpus = said(load_audio, tmp_path / "a", SpeechSettings(chunk_length=0))
    train = np.concatenate([corpus.train.frames(i).astype(float) for i in range(len(corpus.train.lengths))])
    assert train.mean() == pytest.approx(0, abs=1e-6)
    assert train.var() == pytest.approx(1, rel=1e-6)
    observation = corpus.observation
    assert len(observation.mean) == len(observation.std) == 1
    assert (observation.law, observation.size, observation.rate) == ("gaussian", FRAME, RATE)
    assert observation.sample_steps == 240
    assert observation.limits == (np.iinfo(np.int16).min, np.iinfo(np.int16).max)
    assert observation.log_scale == pytest.approx(FRAME * math.log(observation.std[0]), rel=1e-12)
    np.testing.assert_allclose(observation.restored(train)[:21], whole(corpus.train)[0], atol=1e-3)


def test_other_frames_and_rates(tmp_path):
    found = recordings(tmp_path / "a", least=4_200)
    corpus = said(load_audio, tmp_path / "a", SpeechSettings(frame_size=64, sample_rate=8_000))
    assert (corpus.observation.size, corpus.observation.rate, corpus.observation.sample_steps) == (64, 8_000, 375)
    assert "10 resampled from 16,000 to 8,000 samples a second" in corpus.source
    assert corpus.test.tape.ends[0] == pytest.approx(len(found["0.wav"]) / 2, rel=0.3)


WRONG = [
    ({"sample_rate": 999}, "sample_rate = 999: it is to be at least 1,000"),
    ({"frame_size": 0}, "frame_size = 0: it is to be at least 1"),
    ({"chunk_length": -1}, "chunk_length = -1: it is to be at least 0"),
    ({"evaluation_length": -1}, "evaluation_length = -1: it is to be at least 0"),
    ({"damaged": "keep"}, "damaged must be one of refuse, skip, not 'keep'"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_wrong_settings(given, message):
    with pytest.raises(InputError) as caught:
        SpeechSettings(**given)
    assert str(caught.value) == message


def test_an_emission_is_clamped_or_free_and_the_rest_is_clamped_by_its_own_bound():
    observation = Observation("gaussian", 3)
    for clamp, expected in ((0.0, None), (2.5, 2.5)):
        model, guide = build(ModelConfig(**SIZES, emission_clamp=clamp, parameter_clamp=7.0), observation)
        assert model.emission.clamp == guide.backward.clamp == expected
        assert model.prior.clamp == guide.posterior.clamp == guide.auxiliary.clamp == 7.0
    assert ModelConfig().emission_clamp == 8


def test_ranges_of_the_configuration():
    with pytest.raises(InputError, match="emission_clamp must not be negative"):
        ModelConfig(emission_clamp=-0.1)
    for workers in (-1, 257):
        with pytest.raises(InputError, match="num_workers must be at least 0 and at most 256"):
            TrainingConfig(num_workers=workers)
    assert TrainingConfig(num_workers=256).num_workers == 256


# What is said of the data


@pytest.mark.parametrize("together", [1, 3_000, 10**9])
def test_moments_that_are_read_part_by_part_are_those_of_the_whole(tmp_path, monkeypatch, together):
    recordings(tmp_path / "a")
    corpus = said(load_audio, tmp_path / "a", AUDIO)
    monkeypatch.setattr(summary, "READ_TOGETHER", together)
    scored = np.concatenate([rows[1:] for rows in whole(corpus.train)])
    expected = (f"{scored.mean():.4g}", f"{scored.std():.4g}")
    assert summary.content(corpus.train, corpus.observation) == expected


def test_moments_of_some_of_a_large_split_are_marked(tmp_path, monkeypatch):
    recordings(tmp_path / "a", mean=1_000)
    corpus = said(load_audio, tmp_path / "a", AUDIO)
    numbers = int(corpus.train.lengths.sum()) * FRAME
    monkeypatch.setattr(summary, "MOST_NUMBERS", numbers)
    assert not any(cell.startswith("~") for cell in summary.content(corpus.train, corpus.observation))
    monkeypatch.setattr(summary, "MOST_NUMBERS", numbers // 3)
    read = []
    real = Waveforms.scored
    monkeypatch.setattr(Waveforms, "scored", lambda split, indices: read.extend(indices) or real(split, indices))
    mean, std = summary.content(corpus.train, corpus.observation)
    assert mean.startswith("~")
    assert std.startswith("~")
    assert 0 < len(set(read)) == len(read) <= len(corpus.train.lengths) // 3
    assert float(mean[1:]) == pytest.approx(1_000, rel=0.05)
    assert float(std[1:]) == pytest.approx(500, rel=0.05)


@pytest.mark.parametrize(("missing", "command"), list(product(["soundfile", "soxr"], ["data", "train", "prepare"])))
def test_a_missing_library_is_one_line_that_names_the_extra(zf, tmp_path, monkeypatch, missing, command):
    for i in range(4):
        write(tmp_path / "a" / f"{i}.wav", noise(9_000, seed=i), 8_000)
    real = importlib.import_module

    def refuse(name, *arguments):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", refuse)
    monkeypatch.chdir(tmp_path)
    words = [command, *(["--dataset"] if command == "train" else []), "audio", "--data", "a"]
    status, _, error = zf(*words, *(["--to", "b"] if command == "prepare" else []))
    assert status == 2
    assert error.splitlines()[-1].startswith(f"error: audio files need {missing}, which cannot be used here")
    assert 'pip install -e ".[audio]"' in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()
    assert not list((tmp_path / "b").glob("*.pcm"))


def test_a_relative_folder_and_the_same_in_full_are_one(tmp_path, monkeypatch):
    recordings(tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    for place in (Path("."), tmp_path / "a"):
        corpus = said(load_audio, place, AUDIO)
        assert "left out" not in corpus.source
        assert sum(sizes(corpus)) > 0


def test_a_prepared_folder_needs_no_library(tmp_path, monkeypatch):
    recordings(tmp_path / "a")
    ours = said(load_audio, tmp_path / "a", AUDIO)
    prepare_audio(tmp_path / "a", tmp_path / "b", AUDIO, say=lambda line: None)

    def refuse(name, *arguments):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    theirs = said(load_audio, tmp_path / "b", AUDIO)
    assert theirs.fingerprint == ours.fingerprint
    assert theirs.observation == ours.observation
