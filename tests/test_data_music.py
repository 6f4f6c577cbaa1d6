"""Piano rolls from every accepted form, and every way to get it wrong."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shared import shared_file
from zf_pyro.data.loader import ordered_batches
from zf_pyro.data.midi import read_midi
from zf_pyro.data.music import MusicSettings, load_music
from zf_pyro.data.splits import SPLITS
from zf_pyro.errors import InputError

DEFAULTS = MusicSettings()


def failure(path, named=None, read=load_music, given=DEFAULTS):
    """The line that says what is wrong with a source; it names `named`, or else the source."""
    with pytest.raises(InputError) as caught:
        read(path, given)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(named or path) in message
    return message


def frames(split, index):
    """u_1, x_1, .., x_n of a sequence, as a batch gives them, (n + 1, 88) booleans."""
    batch = split.batch(np.array([index]))
    assert torch.equal(batch.inputs[1:], batch.targets[:-1])
    return torch.cat([batch.inputs[:1], batch.targets])[:, 0].numpy().astype(bool)


def scored(split):
    return [split.scored(np.array([i])) for i in range(len(split))]


def roll(seed, steps):
    return np.random.default_rng(seed).random((steps, 88)) < 0.3


# Arrays

ROWS = {"train": [6, 6, 6], "valid": [6, 6], "test": [6, 4, 1]}


def arrays(dtype=np.float32, mask=True):
    """A data set as the authors of SRNN lay it out, its real steps by `ROWS`."""
    held = {}
    for split, lengths in ROWS.items():
        pieces = np.stack([roll(len(split) + i, 7) for i in range(len(lengths))]).astype(dtype)
        u, x = pieces[:, :-1].copy(), pieces[:, 1:].copy()
        real = np.arange(6) < np.array(lengths)[:, None]
        if split == "test" and dtype == np.float32:
            u[~real], x[~real] = np.nan, 0
        held |= {f"u_{split}": u, f"x_{split}": x}
        if split == "test" and mask:
            held["mask_test"] = real.astype(dtype)
    return held


def save(path, held):
    np.savez(path, **held)
    return path


@pytest.mark.parametrize(("dtype", "mask"), [(np.float32, True), (np.float32, False), (np.uint8, True), (bool, True)])
def test_arrays(tmp_path, dtype, mask):
    held = arrays(dtype, mask)
    path = save(tmp_path / "set.npz", held)
    corpus = load_music(path, MusicSettings(chunk_length=2))
    for split in SPLITS:
        sequences = getattr(corpus, split)
        assert sequences.lengths.tolist() == ROWS[split]
        for row, length in enumerate(ROWS[split]):
            expected = np.concatenate([held[f"u_{split}"][row, :1], held[f"x_{split}"][row, :length]])
            np.testing.assert_array_equal(frames(sequences, row), expected)
    batch = corpus.test.batch(np.arange(3))
    assert batch.first_input_is_data
    assert batch.inputs.isfinite().all()
    assert batch.lengths.tolist() == ROWS["test"]
    assert corpus.source.startswith(f"{path}: 3 / 2 / 3 rows of 18 / 12 / 11 frames")
    assert "the first frame of each row is conditioned on" in corpus.source


def test_what_a_data_set_says_of_itself(tmp_path, monkeypatch):
    save(tmp_path / "set.npz", arrays())
    monkeypatch.chdir(tmp_path)
    corpus = load_music(Path("set.npz"), DEFAULTS)
    about = corpus.observation
    assert (about.law, about.size, about.sequence, about.step) == ("bernoulli", 88, "piece", "frame")
    assert about.steps_per_beat == 2  # half a beat, whatever the settings say of other forms
    assert load_music(Path("set.npz"), MusicSettings(steps_per_beat=7)).observation == about
    assert corpus.origin == str(tmp_path / "set.npz")
    assert corpus.settings == DEFAULTS
    held = arrays()
    held["x_valid"][1, 5, 87] = 1 - held["x_valid"][1, 5, 87]
    other = load_music(save(tmp_path / "other.npz", held), DEFAULTS)
    assert load_music(save(tmp_path / "same.npz", arrays()), DEFAULTS).fingerprint == corpus.fingerprint
    assert len(corpus.fingerprint) == len(other.fingerprint) == 64
    assert other.fingerprint != corpus.fingerprint


def put(name, place, value):
    def change(held):
        held[name] = held[name].astype(np.float32)
        held[name][place] = value

    return change


def use(**changed):
    """Arrays by functions of what they were."""
    return lambda held: held.update({name: change(held[name]) for name, change in changed.items()})


def unmasked(name, place, value):
    def change(held):
        del held["mask_test"]
        put(name, place, value)(held)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *((lambda held, name=f"{kind}_{split}": held.pop(name), f"no array '{kind}_{split}'")
          for kind in "ux" for split in SPLITS),
        (put("u_train", (1, 2, 5), np.nan), "array 'u_train': nan at (1, 2, 5)"),
        (put("x_valid", (0, 3, 0), np.inf), "array 'x_valid': inf at (0, 3, 0)"),
        (put("x_test", (1, 3, 87), np.nan), "array 'x_test': nan at (1, 3, 87)"),
        (unmasked("u_test", (0, 2), np.nan), "array 'u_test': nan at (0, 2, 0)"),
        (unmasked("u_test", (0, 5, 3), np.nan), "array 'u_test': nan at (0, 5, 3)"),
        (put("u_train", (0, 0, 0), 0.5), "array 'u_train': 0.5 at (0, 0, 0); each number"),
        (put("x_train", (0, 0, 0), -1), "array 'x_train': -1.0 at (0, 0, 0); each number"),
        (use(x_train=lambda x: x[:, :-1]), "shapes (3, 6, 88) and (3, 5, 88)"),
        (use(x_train=lambda x: x[:-1]), "shapes (3, 6, 88) and (2, 6, 88)"),
        (use(u_valid=lambda u: u[..., :87], x_valid=lambda x: x[..., :87]), "shapes (2, 6, 87) and (2, 6, 87)"),
        (use(u_valid=lambda u: u[0], x_valid=lambda x: x[0]), "shapes (6, 88) and (6, 88)"),
        (use(u_valid=lambda u: u[:0], x_valid=lambda x: x[:0]), "shapes (0, 6, 88) and (0, 6, 88)"),
        (use(u_train=lambda u: u[:, :0], x_train=lambda x: x[:, :0]), "shapes (3, 0, 88) and (3, 0, 88)"),
        (use(u_train=lambda u: np.full(u.shape, "a")), "array 'u_train': holds <U1"),
        (put("mask_test", (0, 0), 0.5), "array 'mask_test': must be 0 or 1"),
        (put("mask_test", (0, 0), np.nan), "array 'mask_test': must be 0 or 1"),
        (use(mask_test=lambda mask: mask[:, :-1]), "array 'mask_test': must be 0 or 1 for each of the (3, 6)"),
        (put("mask_test", (0, 2), 0), "array 'mask_test': 0 at (0, 2) and 1 after it"),
        (put("mask_test", 1, 0), "array 'mask_test': no real step in row 1"),
        (unmasked("u_test", 2, np.nan), "array 'u_test': no real step in row 2"),
        (use(x_train=lambda x: np.roll(x, 1, axis=2)), "x must be u one step on"),
        (use(u_test=lambda u: u[::-1]), "arrays 'u_test' and 'x_test': x at (0, 0) is not u at (0, 1)"),
    ],
)  # fmt: skip
def test_wrong_arrays(tmp_path, change, said):
    held = arrays()
    change(held)
    if said.startswith("arrays 'u_test'"):
        held = {name: np.nan_to_num(array) for name, array in held.items()} | {"mask_test": np.ones((3, 6))}
    assert said in failure(save(tmp_path / "set.npz", held))


class Trap:
    """An object whose unpickling leaves a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_objects_are_never_read(tmp_path):
    held = arrays() | {"u_train": np.array([Trap(tmp_path / "sprung")], dtype=object)}
    assert "pickled objects" in failure(save(tmp_path / "set.npz", held))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("left", [0, 1, 2, 50, 0.5, -1])
def test_truncated_arrays(tmp_path, left):
    whole = save(tmp_path / "set.npz", arrays()).read_bytes()
    path = tmp_path / "cut.npz"
    path.write_bytes(whole[: int(len(whole) * left) if left == 0.5 else left])
    failure(path)


# JSON

NOTES = {
    "train": [[[60, 64], [], [21, 108]], [[60]]],
    "validation": [[[], [61]]],
    "test": [[[62], [62], []]],
}


@pytest.mark.parametrize("packer", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["set.json", "set.JSON.gz"])
def test_json(tmp_path, packer, name):
    path = tmp_path / name
    path.write_bytes(packer(json.dumps(NOTES).encode()))
    corpus = load_music(path, DEFAULTS)
    assert corpus.train.lengths.tolist() == [3, 1]
    assert [np.flatnonzero(frame).tolist() for frame in frames(corpus.train, 0)] == [[], [39, 43], [], [0, 87]]
    assert [np.flatnonzero(frame).tolist() for frame in frames(corpus.valid, 0)] == [[], [], [40]]
    assert not corpus.train.batch(np.arange(2)).first_input_is_data
    assert corpus.source == f"{path}: 2 / 1 / 1 pieces of 4 / 2 / 3 frames to train, validate and test"


@pytest.mark.parametrize("length", [1, 3, 4, 7, 100])
def test_training_pieces_are_cut(tmp_path, length):
    pieces = [[[21 + (5 * step + piece) % 88] for step in range(12)] for piece in range(3)]
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"train": pieces[:2], "val": pieces[2:], "test": pieces[2:]}))
    whole, cut = (load_music(path, MusicSettings(chunk_length=given)) for given in (0, length))
    assert whole.train.lengths.tolist() == [12, 12]
    assert cut.train.lengths.max() == min(length, 12)
    rows_a_piece = -(-12 // length)
    for piece in range(2):
        rows = [frames(cut.train, piece * rows_a_piece + i) for i in range(rows_a_piece)]
        np.testing.assert_array_equal(np.concatenate([row[1:] for row in rows]), frames(whole.train, piece)[1:])
        assert not rows[0][0].any()
        for before, row in pairwise(rows):
            np.testing.assert_array_equal(row[0], before[-1])
    assert cut.valid.lengths.tolist() == cut.test.lengths.tolist() == [12]
    assert ("those to train cut into" in cut.source) == (length < 12)


def changed(**entries):
    return json.dumps(NOTES | entries).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: broken JSON"),
        (b'{"train": [],\n', "line 2: broken JSON"),
        (b"\xff\xfe\xff", "broken JSON"),
        (b"[" * 200_000, "broken JSON"),
        (b"[[[[60]]]]", "holds no object"),
        (b'{"train": 1' + b"0" * 5000 + b"}", "broken JSON"),
        (b'{"Train": [], "a\\nb": []}', "one entry with the name train"),
        (changed(valid=[[[60]]]), "one entry with the name valid or validation or val"),
        (changed(train=[]), "train: no list of pieces, or an empty one"),
        (changed(test={"a": [[60]]}), "test: no list of pieces"),
        (changed(train=[[[60]], []]), "train, piece 2: not a list of 1 to"),
        (changed(train=[[60]]), "train, piece 1, step 1: 60 is no list of notes"),
        (changed(train=[[[60]], [[60], [20]]]), "train, piece 2, step 2: the note 20 is no integer from 21 to 108"),
        (changed(validation=[[[109]]]), "validation, piece 1, step 1: the note 109"),
        (changed(train=[[[10**4000]]]), "train, piece 1, step 1: the note 1000"),
        (changed(train=[[[60.0]]]), "the note 60.0 is no integer"),
        (changed(train=[[[True]]]), "the note True is no integer"),
        (changed(train=[[["a\nb" * 99]]]), "train, piece 1, step 1: the note 'a\\nb"),
        (changed(train=[[[[[60]]]]]), "the note [[60]] is no integer"),
        (gzip.compress(changed(), mtime=0)[:-9], "truncated or damaged"),
        (gzip.compress(changed(), mtime=0)[:-8] + bytes(8), "truncated or damaged"),
        (gzip.compress(bytes(1 << 27), 1, mtime=0), "more than 64 MiB of JSON"),
    ],
)
def test_wrong_json(tmp_path, content, said):
    path = tmp_path / "set.json"
    path.write_bytes(content)
    message = failure(path)
    assert said in message
    assert len(message) < 500


# MIDI


def song(path, *tracks, ticks_per_beat=480, kind=1):
    """Writes tracks of (tick, message, fields), each in the order of its ticks."""
    mido = pytest.importorskip("mido")
    written = []
    for track in tracks:
        ticks = [0, *(tick for tick, _, _ in track)]
        written.append(mido.MidiTrack())
        for now, (tick, name, fields) in zip(ticks, track, strict=False):
            message = mido.MetaMessage if name in ("end_of_track", "set_tempo", "lyrics") else mido.Message
            written[-1].append(message(name, time=tick - now, **fields))
    path.parent.mkdir(parents=True, exist_ok=True)
    mido.MidiFile(type=kind, ticks_per_beat=ticks_per_beat, tracks=written).save(path)
    return path


def on(tick, note, velocity=64, channel=0):
    return tick, "note_on", {"note": note, "velocity": velocity, "channel": channel}


def off(tick, note, channel=0):
    return tick, "note_off", {"note": note, "channel": channel}


def tune(path, seed=0):
    """A short piece of its own."""
    low = 30 + seed
    return song(path, [on(0, low), off(480, low), on(480, low + 7), off(960, low + 7)])


def sounding(read):
    """The steps of every note of a roll, {note: [step, ...]}."""
    return {21 + int(key): np.flatnonzero(read[:, key]).tolist() for key in np.flatnonzero(read.any(0))}


@pytest.mark.parametrize(
    ("tracks", "steps", "expected"),
    [
        ([[on(0, 60), off(480, 60)]], 4, {60: [0, 1, 2, 3]}),
        ([[on(0, 60), off(480, 60)]], 1, {60: [0]}),
        ([[on(0, 21), on(0, 108), off(240, 21), off(360, 108)]], 4, {21: [0, 1], 108: [0, 1, 2]}),
        ([[on(0, 60), on(120, 60, velocity=0), on(240, 62), off(360, 62)]], 4, {60: [0], 62: [2]}),  # velocity 0
        ([[on(59, 60), off(179, 60), on(180, 62), off(300, 62)]], 4, {60: [0], 62: [2]}),  # the nearest step
        ([[on(60, 60), off(61, 60), on(70, 62), off(420, 62)]], 4, {60: [0], 62: [0, 1, 2]}),  # one step at least
        ([[on(0, 60), off(0, 60), on(120, 60), off(120, 60)]], 4, {60: [0, 1]}),
        ([[on(9600, 60), off(9720, 60), (99_999, "end_of_track", {})]], 4, {60: [0]}),  # begins and ends with a note
        ([[on(0, 60), on(120, 35, channel=9), off(240, 60), off(900, 35, channel=9)]], 4, {60: [0, 1]}),  # percussion
        ([[on(0, 60), off(240, 60)], [on(120, 64), off(360, 64)]], 4, {60: [0, 1], 64: [1, 2]}),  # two tracks
        ([[on(0, 60), off(480, 60)], [on(0, 60), off(120, 60)]], 4, {60: [0, 1, 2, 3]}),
        ([[on(0, 60), on(0, 60, channel=1), off(120, 60), off(360, 60, channel=1)]], 4, {60: [0, 1, 2]}),
        ([[on(0, 60), on(120, 62), off(240, 62)], [(600, "lyrics", {"text": "é"})]], 4,
         {60: [0, 1, 2, 3, 4], 62: [1]}),  # never ended
        ([[on(0, 60), on(240, 60), off(360, 60), off(900, 60)]], 4, {60: [0, 1, 2]}),  # struck again
        ([[off(0, 60), on(0, 60), (60, "set_tempo", {"tempo": 1}), off(240, 60)]], 4, {60: [0, 1]}),
    ],
)  # fmt: skip
def test_midi(tmp_path, tracks, steps, expected):
    read, left_out = read_midi(song(tmp_path / "a.mid", *tracks), steps)
    assert sounding(read) == expected
    assert read.shape == (1 + max(max(steps) for steps in expected.values()), 88)
    assert (read.dtype, left_out) == (bool, 0)


def test_notes_without_a_key_are_counted(tmp_path):
    path = song(tmp_path / "a.mid", [on(0, 20), on(0, 109), on(120, 60), off(240, 60), on(240, 20), off(360, 20)])
    read, left_out = read_midi(path, 4)
    assert (sounding(read), left_out) == ({60: [0]}, 3)


@settings(max_examples=60, deadline=None)
@given(
    cells=st.sets(st.tuples(st.integers(0, 12), st.integers(0, 87)), min_size=1, max_size=60),
    steps=st.integers(1, 6),
    jitter=st.randoms(use_true_random=False),
)
def test_rolls_come_back(folder, cells, steps, jitter):
    first, last = min(step for step, _ in cells), max(step for step, _ in cells)
    wanted = np.zeros((last - first + 1, 88), dtype=bool)
    for step, key in cells:
        wanted[step - first, key] = True
    ends = np.diff(np.pad(wanted, ((1, 1), (0, 0))).astype(int), axis=0)  # 1 at an onset, -1 after a last step
    events = [
        (max(0, int(step) * 100 + jitter.randint(-49, 49)), ends[step, key] > 0, 21 + int(key))
        for step, key in np.argwhere(ends)
    ]
    track = [on(tick, note) if starts else off(tick, note) for tick, starts, note in sorted(events)]
    read, left_out = read_midi(song(folder / "a.mid", track, ticks_per_beat=100 * steps), steps)
    np.testing.assert_array_equal(read, wanted)
    assert left_out == 0


def chunk(name, data):
    return name + len(data).to_bytes(4, "big") + data


def raw(track, kind=1, division=480):
    header = b"".join(number.to_bytes(2, "big", signed=number < 0) for number in (kind, 1, division))
    return chunk(b"MThd", header) + chunk(b"MTrk", track)


NOTE = bytes([0, 0x90, 60, 64, 120, 0x80, 60, 0])
FAR = bytes([0xFF, 0xFF, 0xFF, 0x7F])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no MIDI file, or a damaged one"),
        (b"once upon a time", "MThd not found"),
        (raw(NOTE)[:-3], "a damaged one (EOFError)"),
        (raw(NOTE + b"\x00\x90\x90\x90"), "a damaged one (data byte"),
        (raw(b""), "no note; remove the file"),
        (raw(bytes([0, 0x99, 60, 64, 120, 0x89, 60, 0])), "no note; remove the file"),
        (raw(bytes([0, 0x90, 5, 64, 120, 0x80, 5, 0])), "no note from 21 to 108 among its 1"),
        (raw(NOTE, division=-(25 << 8) + 40), "not in beats (SMPTE"),
        (raw(NOTE, division=0), "not in beats (SMPTE"),
        (raw(NOTE, kind=2), "MIDI of type 2"),
        (raw(NOTE + FAR + NOTE[1:]), "more than 1,000,000 steps"),
        (raw(NOTE[:4] + FAR + b"\xff\x2f\x00"), "more than 1,000,000 steps"),
        (raw(NOTE + b"\xff" * 2000 + b"\x7f" + NOTE[1:]), "more than 1,000,000 steps"),
        (raw(b"\xff" * (1 << 20) + b"\x7f" + NOTE[1:]), "a number without end"),
        (raw(bytes(1 << 22)), "larger than 4 MiB"),
    ],
)
def test_wrong_midi(tmp_path, content, said):
    pytest.importorskip("mido")
    path = tmp_path / "a.mid"
    path.write_bytes(content)
    tracemalloc.start()
    began = time.perf_counter()
    try:
        assert said in failure(path, read=read_midi, given=4)
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - began < 10


def test_late_music_is_read(tmp_path):
    path = tmp_path / "a.mid"
    path.write_bytes(raw(FAR + NOTE[1:]))
    assert sounding(read_midi(path, 4)[0]) == {60: [0]}


def test_mido_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mido", None)
    path = tmp_path / "a.mid"
    path.write_bytes(raw(NOTE))
    assert 'pip install "zf_pyro[music]"' in failure(path, read=read_midi, given=4)


def test_missing_midi(tmp_path):
    assert "No such file" in failure(tmp_path / "a.mid", read=read_midi, given=4)


# Folders


def test_split_of_a_folder_depends_on_content_alone(tmp_path):
    for seed in range(20):
        tune(tmp_path / "a" / f"{seed:02}.mid", seed)
        tune(tmp_path / "b" / f"deep/{(7 * seed) % 20}" / "Trainer.MIDI", seed)
    first, second = (load_music(tmp_path / name, DEFAULTS) for name in "ab")
    assert [len(getattr(first, split)) for split in SPLITS] == [17, 1, 2]
    for split in SPLITS:
        np.testing.assert_array_equal(getattr(first, split).frames, getattr(second, split).frames)
    assert first.fingerprint == second.fingerprint
    assert load_music(tmp_path / "a", MusicSettings(split_seed=1)).fingerprint != first.fingerprint
    everything = sorted(each.tobytes() for split in SPLITS for each in scored(getattr(first, split)))
    rolls = [read_midi(path, 4)[0].tobytes() for path in (tmp_path / "a").iterdir()]
    assert everything == sorted(rolls)


@pytest.mark.parametrize("form", ["{}/{}.mid", "deep/{}-set/{}.mid", "{}_{}.mid"])
def test_names_of_splits(tmp_path, form):
    named = ["Train", "train", "train", "val", "TEST", "test"]
    for seed, split in enumerate(named):
        tune(tmp_path / form.format(split, seed), seed)
    song(tmp_path / ".hidden/0.mid", [])
    song(tmp_path / "._0.mid", [])
    corpus = load_music(tmp_path, MusicSettings(steps_per_beat=1))
    expected = {"train": [0, 1, 2], "valid": [3], "test": [4, 5]}
    for split, seeds in expected.items():
        found = [int(np.flatnonzero(read[0])[0]) + 21 - 30 for read in scored(getattr(corpus, split))]
        assert sorted(found) == seeds
    assert corpus.source == f"{tmp_path}: 3 / 1 / 2 pieces of 6 / 2 / 4 frames to train, validate and test"


def test_a_piece_of_no_split_among_others_is_refused(tmp_path):
    for seed in range(5):
        tune(tmp_path / f"tune{seed}.mid", seed)
    tune(tmp_path / "Test of Time.mid", 9)
    with pytest.raises(InputError, match=r"tune\d\.mid: of no split, while other files are"):
        load_music(tmp_path, DEFAULTS)


def test_notes_left_out_are_said(tmp_path):
    for seed in range(3):
        song(tmp_path / f"{seed}.mid", [on(0, 60 + seed), off(480, 60 + seed), on(480, 10), off(960, 10)])
    assert load_music(tmp_path, DEFAULTS).source.endswith("; 3 notes outside the piano's range left out")


def test_folder_of_one_data_set(tmp_path):
    path = tmp_path / "deep/set.npz"
    path.parent.mkdir()
    save(path, arrays())
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".set.json").write_text("{}")
    corpus = load_music(tmp_path, DEFAULTS)
    assert corpus.source.startswith(f"{path}: ")
    assert corpus.fingerprint == load_music(path, DEFAULTS).fingerprint
    (tmp_path / "other.json.gz").write_bytes(b"")
    assert "2 data sets (deep/set.npz, other.json.gz)" in failure(tmp_path)
    for seed in range(3):
        tune(tmp_path / f"{seed}.mid", seed)
    assert "1 / 1 / 1 pieces" in load_music(tmp_path, DEFAULTS).source


def test_folders_without_music(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert "a folder without music" in failure(tmp_path)
    tune(tmp_path / "a.mid")
    assert "1 pieces; at least 3 are needed" in failure(tmp_path)
    tune(tmp_path / "b.mid", 1)
    song(tmp_path / "c.mid", [])
    assert "no note" in failure(tmp_path, named=tmp_path / "c.mid")


@pytest.mark.parametrize(
    ("name", "said"),
    [("nowhere.npz", "no such file or folder"), ("a.mid", "one MIDI file"), ("a.txt", "of no known kind")],
)
def test_wrong_paths(tmp_path, name, said):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "a.mid").write_bytes(raw(NOTE))
    assert said in failure(tmp_path / name)


def test_unreadable_folder(tmp_path, monkeypatch):
    def refuse(path, *args):
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "scandir", refuse)
    assert "cannot be read (Permission denied)" in failure(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chunk_length", -1),
        ("steps_per_beat", 0),
        ("steps_per_beat", 32_768),
        ("valid_fraction", 0.0),
        ("split_seed", -1),
    ],
)
def test_wrong_settings(field, value):
    with pytest.raises(InputError, match=f"^{field} = {value}"):
        MusicSettings(**{field: value})


# Any bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("music")


def good_files():
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays())
    stored = io.BytesIO()
    np.savez(stored, **arrays())
    text = json.dumps(NOTES).encode()
    return [
        ("a.npz", packed.getvalue()),
        ("a.npz", stored.getvalue()),
        ("a.json", text),
        ("a.json", gzip.compress(text, mtime=0)),
        ("a.mid", raw(NOTE + b"\x00\xff\x01\x02hi\x00\xf0\x03\x01\x02\xf7" + NOTE + b"\x00\xff\x2f\x00")),
    ]


def check_any_bytes(folder, name, content):
    """Either a result without NaN, or one line."""
    path = folder / name
    path.write_bytes(content)
    message = None
    try:
        read = read_midi(path, 4)[0] if name.endswith(".mid") else load_music(path, DEFAULTS)
    except InputError as error:
        message = str(error)
    if message is not None:
        assert len(message.splitlines()) == 1
        assert str(path) in message
    elif name.endswith(".mid"):
        assert read.shape[1] == 88
        assert read[0].any()
        assert read[-1].any()
    else:
        assert read.test.batch(np.arange(len(read.test))).inputs.isfinite().all()


HEADS = {
    ".npz": [b"", b"PK\x03\x04", b"PK\x05\x06"],
    ".json": [b"", b"\x1f\x8b\x08\x00", b'{"train": '],
    ".mid": [b"", raw(b"")[:-8], raw(b"")[:-4] + b"\x00\x00\x00\x40", raw(NOTE)[:-8]],
}


@settings(max_examples=200, deadline=2000)
@given(name=st.sampled_from(sorted(HEADS)), data=st.data(), tail=st.binary(max_size=300))
def test_arbitrary_bytes(folder, name, data, tail):
    check_any_bytes(folder, f"a{name}", data.draw(st.sampled_from(HEADS[name])) + tail)


@pytest.mark.parametrize("good", good_files(), ids=["npz", "stored", "json", "gzip", "midi"])
@settings(max_examples=120, deadline=2000)
@given(data=st.data())
def test_damaged_bytes(folder, good, data):
    name, content = good
    if name.endswith(".mid"):
        pytest.importorskip("mido")
    damaged = bytearray(content[: data.draw(st.integers(len(content) // 2, len(content)) | st.just(len(content)))])
    flips = st.tuples(st.integers(0, len(damaged) - 1), st.integers(1, 255))
    for place, flip in data.draw(st.lists(flips, min_size=1, max_size=4)):
        damaged[place] ^= flip
    check_any_bytes(folder, name, bytes(damaged))


# The sets of the literature


@pytest.mark.parametrize(
    ("name", "sequences", "steps"),
    [
        ("jsb_raw_batchsize16_seqlen100.npz", (272, 80, 77), (27_200, 8_000, 9_396)),
        ("nottingham_raw_batchsize16_seqlen100.npz", (1472, 368, 170), (147_200, 36_800, 37_062)),
        ("jsb-chorales-quarter.json.gz", (229, 76, 77), (13_807, 4_602, 4_725)),
    ],
)
def test_real_music(name, sequences, steps):
    corpus = load_music(shared_file(f"music/{name}"), MusicSettings(chunk_length=0))
    splits = [getattr(corpus, split) for split in SPLITS]
    assert tuple(len(split) for split in splits) == sequences
    assert tuple(split.lengths.sum() for split in splits) == steps
    for split in splits:
        for batch in ordered_batches(split, np.arange(len(split)), 64):
            assert ((batch.inputs == 0) | (batch.inputs == 1)).all()
            assert ((batch.targets == 0) | (batch.targets == 1)).all()
    assert -15 < corpus.marginal_score(np.arange(sequences[2])) * sequences[2] / steps[2] < -5


def test_real_lengths_without_a_mask(tmp_path):
    path = shared_file("music/jsb_raw_batchsize16_seqlen100.npz")
    with np.load(path) as archive:
        held = {name: archive[name] for name in archive.files if name != "mask_test"}
    assert load_music(save(tmp_path / "set.npz", held), DEFAULTS).fingerprint == load_music(path, DEFAULTS).fingerprint


def test_pieces_that_end_elsewhere_have_another_fingerprint(tmp_path):
    prints = set()
    for train in ([[[60], [62]], [[64]]], [[[60]], [[62], [64]]]):
        path = tmp_path / "x.json"
        path.write_text(json.dumps({"train": train, "valid": [[[60]]], "test": [[[60]]]}))
        prints.add(load_music(path, MusicSettings()).fingerprint)
    assert len(prints) == 2
