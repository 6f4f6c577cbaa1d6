"""Sequences as sound, MIDI and files: what is written, read back."""

from __future__ import annotations

import io
import json
import sys
import wave

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mido import MidiFile

from tests.toy_runs import TINY
from zf_pyro import InputError
from zf_pyro.data.corpus import Observation
from zf_pyro.data.midi import FINEST_GRID, read_midi
from zf_pyro.data.text import Vocabulary
from zf_pyro.media.midi import midi_bytes
from zf_pyro.media.sound import RATE, Sound, held_notes, joined, sound_of, tones, wav_bytes
from zf_pyro.media.writing import write_sequences, write_together

MUSIC = Observation("bernoulli", 88, sequence="piece", step="frame", steps_per_beat=2)
SPEECH = Observation("gaussian", 3, step="frame", rate=16_000, mean=(0.0,), std=(1.0,))
IMAGES = Observation("bernoulli", 1, sequence="image", step="pixel", sample_steps=16, rows=4)
WORDS = Observation("categorical", 7, sequence="sentence", step="token")
QUICK = settings(max_examples=30, deadline=None)
ON_DISK = settings(QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_wav(content):
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


# Sound


@QUICK
@given(arrays(np.int16, st.integers(0, 200)), st.integers(1, 96_000))
def test_whole_samples_are_written_as_they_are(samples, rate):
    found, found_rate = read_wav(wav_bytes(samples.astype(float), rate))
    np.testing.assert_array_equal(found, samples)
    assert found_rate == rate


def test_other_samples_are_rounded_and_cut():
    samples = np.array([0.4, 0.6, -0.6, 32767.4, 40_000, -40_000, np.inf, -np.inf, np.nan])
    found, _ = read_wav(wav_bytes(samples, 8_000))
    assert found.tolist() == [0, 1, -1, 32767, 32767, -32768, 32767, -32768, 0]


def test_sounds_one_after_the_other():
    found = joined([Sound(np.ones(5), 30), Sound(np.full(2, 2.0), 30)])
    assert found.samples.tolist() == [1.0] * 5 + [0.0] * 10 + [2.0] * 2 + [0.0] * 10
    assert found.rate == 30


def test_a_waveform_is_its_frames_joined():
    sequence = np.arange(12.0).reshape(4, 3)
    sound = sound_of(sequence, SPEECH)
    assert sound.rate == 16_000
    np.testing.assert_array_equal(sound.samples, np.arange(12))


def test_what_has_no_sound():
    assert sound_of(np.zeros((16, 1)), IMAGES) is None
    assert sound_of(np.zeros((5, 88)), Observation("bernoulli", 88)) is None


def silence(steps):
    return np.zeros((steps, 88), dtype=np.uint8)


def loudest_frequency(samples, rate):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate / len(samples)


@pytest.mark.parametrize(("number", "frequency"), [(69, 440.0), (60, 261.63), (108, 4186.0), (33, 55.0)])
def test_a_key_sounds_at_its_pitch(number, frequency):
    roll = silence(4)
    roll[:, number - 21] = 1
    assert loudest_frequency(tones(roll, 2.0), RATE) == pytest.approx(frequency, abs=1.0)


def test_partials_that_the_rate_cannot_carry_are_left_out():
    roll = silence(4)
    roll[:, 108 - 21] = 1
    sound = tones(roll, 2.0)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    frequencies = np.arange(len(spectrum)) * RATE / len(sound)
    beside = np.abs(frequencies - 4186) > 200
    assert spectrum[beside].max() < 0.01 * spectrum.max()  # the second would be heard at 12,000 - 8,372


def test_a_note_sounds_from_its_onset_to_its_end():
    roll = silence(5)
    roll[1:3, 40] = 1
    sound = tones(roll, 4.0, rate=8_000)
    assert len(sound) == 10_000
    assert not sound[:2_001].any()
    assert not sound[6_000:].any()
    pieces = np.abs(sound[2_000:6_000]).reshape(-1, 100).max(1)
    assert (pieces[1:-4] > 0.1 * pieces.max()).all()  # held over the border of its two steps


@QUICK
@given(arrays(bool, st.tuples(st.integers(0, 6), st.just(88))), st.floats(10.0, 50.0))
def test_music_is_never_clipped_and_as_long_as_it_says(roll, steps_per_second):
    sound = tones(roll, steps_per_second, rate=8_000)
    assert len(sound) == round(len(roll) * 8_000 / steps_per_second)
    assert np.abs(sound).max(initial=0.0) <= 0.8 * 32_767 + 1e-6
    assert sound.any() == (roll.any() and len(sound) > len(roll))


def test_music_is_at_120_beats_a_minute():
    sound = sound_of(np.eye(88, dtype=np.uint8)[:6], MUSIC)  # three beats
    assert len(sound.samples) == 1.5 * sound.rate


def test_a_chord_is_not_as_loud_as_its_notes_together():
    roll = silence(3)
    roll[0, [30, 37, 44, 51]] = roll[2, 30] = 1
    sound = tones(roll, 2.0)
    first, last = np.abs(sound[:6_000]).max(), np.abs(sound[12_000:]).max()
    assert 1 < first / last < 3


# MIDI

rolls = arrays(bool, st.tuples(st.integers(1, 20), st.just(88)), elements=st.booleans(), fill=st.just(False))


def without_silent_ends(roll):
    sounding = np.flatnonzero(roll.any(1))
    return roll[sounding[0] : sounding[-1] + 1]


@ON_DISK
@given(rolls, st.sampled_from([1, 2, 3, 4, 7, 24, 480, 481, FINEST_GRID]))
def test_midi_is_read_back(tmp_path, roll, steps_per_beat):
    content = midi_bytes(roll, steps_per_beat)
    midi = MidiFile(file=io.BytesIO(content))
    begun = sum(message.type == "note_on" for message in midi.tracks[0])
    assert begun == len(list(held_notes(roll))) == (np.diff(roll.astype(int), axis=0, prepend=0) == 1).sum()
    assert midi.length == pytest.approx(0.5 * len(roll) / steps_per_beat)
    if not roll.any():
        return
    (tmp_path / "a.mid").write_bytes(content)
    found, outside = read_midi(tmp_path / "a.mid", steps_per_beat)
    np.testing.assert_array_equal(found, without_silent_ends(roll))
    assert outside == 0


@pytest.mark.parametrize("steps_per_beat", [0, FINEST_GRID + 1])
def test_a_grid_that_midi_does_not_have(steps_per_beat):
    with pytest.raises(InputError, match="no grid"):
        midi_bytes(silence(2), steps_per_beat)


def test_without_mido(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(InputError, match=r"zf_pyro\[music\]"):
        midi_bytes(silence(2), 2)
    written = write_sequences(tmp_path, [silence(4)], ["a"], MUSIC)
    assert [path.name for path in written] == ["sequences.json", "sequences.npz", "sequences.png", "1.wav"]


# Files


def test_text(tmp_path):
    words = Vocabulary(["a", "good", "film"])
    written = write_sequences(
        tmp_path / "new" / "folder",
        [np.array([4, 5, 6]), np.array([], dtype=np.int64)],
        ["share 0.0", "<b>"],
        WORDS,
        words,
        {"command": "sample", "seed": 3},
        [{"score": -1.5, "ended": True}, {"score": float("-inf")}],
    )
    assert [path.name for path in written] == ["sequences.json"]
    assert json.loads(written[0].read_text()) == {
        "command": "sample",
        "seed": 3,
        "sequences": [
            {"number": 1, "title": "share 0.0", "sentence": "a good film", "score": -1.5, "ended": True},
            {"number": 2, "title": "<b>", "sentence": "", "score": None},
        ],
    }


EXPECTED = {
    "music": (MUSIC, [np.eye(88, dtype=np.uint8)[:n] for n in (6, 4)], ["wav", "mid"]),
    "speech": (SPEECH, [np.arange(3.0 * n).reshape(n, 3) for n in (6, 4)], ["wav"]),
    "images": (IMAGES, [np.eye(4, dtype=np.uint8).reshape(16, 1)] * 2, []),
    "arrays": (Observation("gaussian", 2), [np.full((n, 2), 1 / 3) for n in (6, 4)], []),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_files_of_every_kind(tmp_path, kind):
    observation, sequences, suffixes = EXPECTED[kind]
    written = write_sequences(tmp_path, sequences, ["one", "two"], observation)
    names = [f"{number}.{suffix}" for number in (1, 2) for suffix in suffixes]
    assert [path.name for path in written] == ["sequences.json", "sequences.npz", "sequences.png", *names]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written}
    with np.load(tmp_path / "sequences.npz", allow_pickle=False) as held:
        for name, sequence in zip("12", sequences, strict=True):
            np.testing.assert_array_equal(held[name], sequence)
            assert held[name].dtype == sequence.dtype
    if "wav" in suffixes:
        found, rate = read_wav((tmp_path / "2.wav").read_bytes())
        expected = sound_of(sequences[1], observation)
        np.testing.assert_array_equal(found, expected.samples.round())
        assert rate == expected.rate
    if "mid" in suffixes:
        np.testing.assert_array_equal(read_midi(tmp_path / "2.mid", 2)[0], sequences[1])


def test_numbers_of_many_are_sorted_as_their_names(tmp_path):
    write_sequences(tmp_path, [silence(1)] * 11, [str(n) for n in range(11)], MUSIC)
    names = sorted(path.name for path in tmp_path.glob("*.wav"))
    assert names == [f"{number:02}.wav" for number in range(1, 12)]


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_folder_that_cannot_be_written(tmp_path, kind):
    observation, sequences, _ = EXPECTED[kind]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot write into"):
        write_sequences(tmp_path / "file", sequences, ["one", "two"], observation)
    with pytest.raises(InputError, match="cannot write into"):
        write_together(tmp_path / "file", "samples", np.stack([sequences[0]] * 2), observation)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_minute_of_music_in_one_file(tmp_path):
    piece = np.tile(np.eye(88, dtype=np.uint8)[:10], (10, 1))  # 25 seconds
    write_together(tmp_path, "samples", np.stack([piece] * 5), MUSIC)
    found, rate = read_wav((tmp_path / "samples.wav").read_bytes())
    assert len(found) == 2 * (25 * rate + rate // 3)
    roll, _ = read_midi(tmp_path / "samples.mid", 2)
    assert len(roll) == 5 * 104 - 4  # two beats of rest after each, the last of them not read
    for number in range(5):
        np.testing.assert_array_equal(roll[104 * number : 104 * number + 100], piece)


def test_a_run_on_music_can_be_heard(run_py, tmp_path):
    pieces = [[[60, 64], [60, 64], [67]]] * 4
    data = tmp_path / "music.json"
    data.write_text(json.dumps({"train": pieces, "valid": pieces, "test": pieces}))
    status, _, error = run_py("--dataset", "piano", "--data", data, "--output", tmp_path / "run", *TINY)
    assert status == 0, error
    with np.load(tmp_path / "run" / "samples.npz") as held:
        drawn = held["samples"]  # (2, 100, 88)
    rest = np.zeros((8, 88), dtype=np.uint8)
    heard, _ = read_midi(tmp_path / "run" / "samples.mid", 4)
    np.testing.assert_array_equal(heard, without_silent_ends(np.concatenate([drawn[0], rest, drawn[1], rest])))
    found, rate = read_wav((tmp_path / "run" / "samples.wav").read_bytes())
    assert len(found) == 2 * (int(12.5 * rate) + rate // 3)
