"""Audio files as 16-bit samples, and samples on the disk as frames, against direct definitions."""

from __future__ import annotations

import os
import struct
import sys

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.utils.data import DataLoader

from zf_pyro.data.loader import _Batches, fetched
from zf_pyro.data.sequences import cut
from zf_pyro.data.speech import decode
from zf_pyro.data.speech.decode import DamagedAudioError, NotAudioError, Recording
from zf_pyro.data.speech.mp3 import frame_size
from zf_pyro.data.speech.waveforms import Tape, Waveforms
from zf_pyro.errors import InputError

RATE = 16_000
EXACT = ("wav", "flac", "aiff", "au", "sph")
ID3 = b"ID3\x03\0\0\0\0\1\x10".ljust(10 + 144, b"\0")
LOSSY = (("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", "MPEG_LAYER_III"))


def noise(count, seed=0):
    """Samples of every size, the extremes among them."""
    samples = np.random.default_rng(seed).integers(-(2**15), 2**15, count, dtype=np.int16)
    samples[:2] = -(2**15), 2**15 - 1
    return samples


def tone(count=2 * RATE, rate=RATE):
    """440 oscillations a second, as real numbers in steps of 16 bits."""
    return 10_000 * np.sin(2 * np.pi * 440 * np.arange(count) / rate)


def sphere(samples, order="01", coding="sample_coding -s3 pcm\n", count=None):
    """A NIST SPHERE file as LDC93S1 has them; its headers have no line on the coding."""
    count = len(samples) if count is None else count
    header = (
        "NIST_1A\n   1024\ndatabase_id -s5 TIMIT\ndatabase_version -s3 1.0\nutterance_id -s8 cjf0_sa1\n"
        f"channel_count -i 1\nsample_count -i {count}\nsample_rate -i {RATE}\nsample_min -i -2191\n"
        f"sample_max -i 2790\nsample_n_bytes -i 2\nsample_byte_format -s2 {order}\nsample_sig_bits -i 16\n"
        f"{coding}end_head\n"
    )
    return header.encode().ljust(1024) + samples.astype("<i2" if order == "01" else ">i2").tobytes()


def riff(samples, promised=None):
    """A wav file whose header promises that many bytes."""
    size = 2 * len(samples) if promised is None else promised
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    whole = min(36 + size, 0xFFFFFFFF)
    return (
        struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + form + struct.pack("<4sI", b"data", size) + samples.tobytes()
    )


def write(path, samples, rate=RATE, **options):
    """An audio file of the kind that its suffix names."""
    if path.suffix == ".sph":
        path.write_bytes(sphere(samples))
    else:
        soundfile.write(path, samples, rate, **options)
    return path


def read(path, rate=RATE):
    """All samples of a file."""
    samples = np.concatenate(list(Recording(path, rate).blocks()))
    assert samples.dtype == np.int16
    return samples


def tones(rate, channels):
    """Six seconds of tones that come and go, (n, channels)."""
    time = np.arange(6 * rate)[:, None] / rate
    samples = 8_000 * np.sin(2 * np.pi * 500 * time * np.arange(1, channels + 1)) * (np.sin(3 * time) > 0)
    return (samples + np.random.default_rng(0).normal(size=samples.shape) * 500 * (time > 4)).astype(np.int16)


def untagged(folder, rate, channels, mode):
    """An mp3 without the frame that tells its length, and what is read with that frame."""
    path = write(folder / "a.mp3", tones(rate, channels), rate, bitrate_mode=mode, compression_level=0.5)
    content, whole = path.read_bytes(), read(path, rate)
    path.write_bytes(content[frame_size(content, 0) :])
    return path, whole


def assert_refused(path, kind, *words):
    """One line that names the file."""
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.type is kind
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message


# What comes out


@pytest.mark.parametrize("coding", ["sample_coding -s3 pcm\n", ""])
@pytest.mark.parametrize("order", ["01", "10"])
@pytest.mark.parametrize("name", ["SA1.WAV", "sa1.sph"])
def test_sphere_is_read_exactly_in_both_byte_orders(tmp_path, name, order, coding):
    (tmp_path / name).write_bytes(sphere(noise(46_797), order, coding))
    np.testing.assert_array_equal(read(tmp_path / name), noise(46_797))


@pytest.mark.parametrize("count", [2, 999, decode.BLOCK, decode.BLOCK + 1])
@pytest.mark.parametrize("kind", EXACT)
def test_sixteen_bits_of_one_channel_come_out_bit_for_bit(tmp_path, kind, count):
    recording = Recording(write(tmp_path / f"a.{kind}", noise(count)), RATE)
    np.testing.assert_array_equal(np.concatenate(list(recording.blocks())), noise(count))
    assert (recording.source_rate, recording.channels, recording.clipped) == (RATE, 1, 0)


@pytest.mark.parametrize("kind", ["wav", "flac", "sph"])
@settings(max_examples=30, deadline=None)
@given(samples=arrays(np.int16, st.integers(1, 300)))
def test_any_sixteen_bits_come_out_bit_for_bit(tmp_path_factory, kind, samples):
    path = write(tmp_path_factory.getbasetemp() / f"random.{kind}", samples)
    np.testing.assert_array_equal(read(path), samples)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("wav", "PCM_U8"), ("wav", "PCM_24"), ("flac", "PCM_24"), ("wav", "PCM_32"), ("wav", "FLOAT"), ("wav", "DOUBLE")],
)
def test_other_widths_are_rounded_to_the_nearest_step(tmp_path, kind, subtype):
    values = np.random.default_rng(0).uniform(-0.999, 0.999, 5_000)
    path = write(tmp_path / f"a.{kind}", values, subtype=subtype)
    held, _ = soundfile.read(path, dtype="float64")
    assert np.abs(held - values).max() <= 1 / 128
    # Numbers are read in single precision, which has 2^-10 of a step where they are largest.
    assert np.abs(read(path) - held * 2**15).max() <= 0.5 + 2**-10


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_channels_are_averaged(tmp_path, kind):
    left, right = noise(3_000, 1), noise(3_000, 2)
    recording = Recording(write(tmp_path / f"a.{kind}", np.stack([left, right], 1)), RATE)
    found = np.concatenate(list(recording.blocks()))
    np.testing.assert_array_equal(found, np.rint((left.astype(float) + right) / 2))
    assert recording.channels == 2
    three = write(tmp_path / f"b.{kind}", np.stack([left, right, left[::-1]], 1))
    assert np.abs(read(three) - (left.astype(float) + right + left[::-1]) / 3).max() <= 0.51


@pytest.mark.parametrize(
    ("source_rate", "rate"), [(8_000, RATE), (22_050, RATE), (44_100, RATE), (48_000, RATE), (RATE, 8_000)]
)
def test_another_rate_keeps_the_sound(tmp_path, monkeypatch, source_rate, rate):
    count = 2 * source_rate + 1
    path = write(tmp_path / "a.wav", tone(count, source_rate).astype(np.int16), source_rate)
    whole = read(path, rate)
    assert abs(len(whole) - count * rate / source_rate) <= 1
    inner = slice(1_000, -1_000)
    assert np.abs(whole - tone(len(whole), rate))[inner].max() < 4
    for block in (1_000, 77):
        monkeypatch.setattr(decode, "BLOCK", block)
        np.testing.assert_array_equal(read(path, rate), whole)


def test_blocks_do_not_change_what_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.flac", np.stack([noise(5_001, 1), noise(5_001, 2)], 1))
    whole = read(path)
    monkeypatch.setattr(decode, "BLOCK", 100)
    assert max(map(len, Recording(path, RATE).blocks())) == 100 // 2
    np.testing.assert_array_equal(read(path), whole)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *(("mp3", {"bitrate_mode": mode, "compression_level": 0.5}) for mode in ("CONSTANT", "AVERAGE", "VARIABLE")),
        *((kind, {"subtype": subtype}) for kind, subtype in LOSSY[:2]),
    ],
)
def test_blocks_do_not_change_lossy_audio(tmp_path, monkeypatch, kind, options):
    """What a frame holds depends on those before it, and no place may be sought anew between blocks."""
    path = write(tmp_path / f"a.{kind}", tones(48_000, 1), 48_000, **options)
    whole, _ = soundfile.read(path, dtype="float32")
    for block in (decode.BLOCK, 5_000, 4_321):
        monkeypatch.setattr(decode, "BLOCK", block)
        np.testing.assert_array_equal(read(path, 48_000), np.rint(whole * 2**15).clip(-(2**15), 2**15 - 1))


@pytest.mark.parametrize(("kind", "subtype"), LOSSY)
def test_lossy_audio_sounds_as_it_did(tmp_path, kind, subtype):
    samples = tone(3 * RATE).astype(np.int16)
    found = read(write(tmp_path / f"a.{kind}", samples, subtype=subtype))
    assert abs(len(found) - len(samples)) < 1_200
    least = min(len(found), len(samples))
    assert np.corrcoef(found[:least], samples[:least])[0, 1] > 0.99


def test_numbers_beyond_one_are_cut_and_counted(tmp_path):
    values = np.array([0.5, 2.0, -1.0, 1.0, -1.5, 32_767 / 32_768, 1e30])
    recording = Recording(write(tmp_path / "a.wav", values, subtype="FLOAT"), RATE)
    found = np.concatenate(list(recording.blocks()))
    assert found.tolist() == [16_384, 32_767, -32_768, 32_767, -32_768, 32_767, 32_767]
    assert recording.clipped == 4


@pytest.mark.parametrize("promised", [0xFFFFFFFF, 0x7FFFF000, 0xFFFFF000])
def test_a_header_that_a_program_in_a_pipe_wrote_promises_nothing(tmp_path, promised):
    (tmp_path / "a.wav").write_bytes(riff(noise(4_000), promised))
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), noise(4_000))


def test_a_name_that_is_not_utf8_is_read(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    path.write_bytes(riff(noise(4_000)))
    np.testing.assert_array_equal(read(path), noise(4_000))


@pytest.mark.parametrize(
    ("front", "back"),
    [(b"", b""), (ID3, b"TAG".ljust(128, b"x")), (b"", b"APETAGEX" + bytes(range(256)))],
)
@pytest.mark.parametrize(
    ("rate", "channels", "mode"),
    [(16_000, 1, "VARIABLE"), (44_100, 2, "AVERAGE"), (44_100, 1, "CONSTANT"), (44_100, 1, "VARIABLE")],
)
def test_mp3_that_does_not_say_its_length_is_read_whole(tmp_path, rate, channels, mode, front, back):
    path, whole = untagged(tmp_path, rate, channels, mode)
    path.write_bytes(front + path.read_bytes() + back)
    found = read(path, rate)
    assert 576 <= len(found) - len(whole) < 2_304
    assert np.abs(found[576:].astype(int)[: len(whole)] - whole).max() <= 2  # behind the delay of the encoder


def test_mp3_without_its_length_is_refused_where_frames_are_cut_or_lost(tmp_path):
    path, _ = untagged(tmp_path, 16_000, 1, "VARIABLE")
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert_refused(path, DamagedAudioError, "the last frame is cut")
    path.write_bytes(content[:4_000] + bytes(50) + content[4_000:])
    assert_refused(path, DamagedAudioError, "no frame at byte ", "and others after it")


# What does not


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, -2, -1])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in EXACT),
        ("wav", {"subtype": "PCM_24"}),
        ("wav", {"subtype": "FLOAT"}),
        *(("mp3", {"bitrate_mode": mode}) for mode in ("CONSTANT", "AVERAGE", "VARIABLE")),
        ("ogg", {"subtype": "VORBIS"}),
        ("ogg", {"subtype": "OPUS"}),
    ],
)
def test_a_truncated_file_is_refused(tmp_path, kind, options, share):
    path = write(tmp_path / f"a.{kind}", noise(3 * RATE) // 4, **options)
    content = path.read_bytes()
    assert len(read(path)) > 0
    path.write_bytes(content[: int(share * len(content)) if share > 0 else share])
    assert_refused(path, DamagedAudioError, "truncated")


@pytest.mark.parametrize("rate", [500, 2_000_000])
def test_a_header_with_a_rate_that_no_recording_has_is_refused(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.ones(1_000, np.int16), rate)
    with pytest.raises(DamagedAudioError, match=f"{rate:,} samples a second by its header"):
        list(Recording(tmp_path / "a.wav", 16_000).blocks())


@pytest.mark.parametrize("kind", [*EXACT, "mp3", "ogg"])
def test_a_file_cut_within_its_header_is_refused(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", noise(RATE))
    path.write_bytes(path.read_bytes()[:20])
    assert_refused(path, DamagedAudioError)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    assert_refused(tmp_path / "a.wav", DamagedAudioError, "empty")


@pytest.mark.parametrize("kind", EXACT)
def test_a_header_without_samples_is_refused(tmp_path, kind):
    assert_refused(write(tmp_path / f"a.{kind}", noise(9)[:0]), DamagedAudioError)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_what_is_no_number_is_refused_with_its_place(tmp_path, monkeypatch, subtype, value):
    monkeypatch.setattr(decode, "BLOCK", 1_000)
    values = np.zeros((5_000, 2))
    values[3_456, 1] = value
    assert_refused(write(tmp_path / "a.wav", values, subtype=subtype), DamagedAudioError, "sample 3,456")


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.flac", "a.ogg", "a.sph"])
@pytest.mark.parametrize("content", [b"this is no audio\n" * 9, b"\0" * 3_000, b"a", b"%PDF-1.4\n%\xff\xff\xff"])
def test_what_is_no_audio_is_told_from_damaged_audio(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name, NotAudioError, "no audio")


def test_shortened_sphere_is_refused_and_is_to_be_converted(tmp_path):
    content = sphere(noise(900), coding="sample_coding -s26 pcm,embedded-shorten-v2.00\n", count=5_000)
    (tmp_path / "a.sph").write_bytes(content)
    assert_refused(tmp_path / "a.sph", DamagedAudioError, "libsndfile does not read", "convert")


def test_a_file_that_is_gone_or_may_not_be_read_is_no_damaged_one(tmp_path):
    assert_refused(tmp_path / "gone.wav", InputError, "cannot be read")
    path = write(tmp_path / "a.wav", noise(100))
    path.chmod(0)
    if not os.access(path, os.R_OK):
        assert_refused(path, InputError, "permissions")


@pytest.mark.parametrize(("missing", "rate"), [("soundfile", RATE), ("soxr", 8_000)])
def test_a_library_that_is_not_there_is_named(tmp_path, monkeypatch, missing, rate):
    path = write(tmp_path / "a.wav", noise(100), rate)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"need {missing}, .*pip install -e \"\.\[audio\]\""):
        read(path)


# Frames


@st.composite
def recordings(draw):
    """Files of samples, and recordings somewhere in them."""
    files = draw(st.lists(arrays(np.int16, st.integers(1, 60)), min_size=1, max_size=3))
    places = draw(st.lists(st.integers(0, len(files) - 1), min_size=1, max_size=5))
    offsets = [draw(st.integers(0, len(files[place]))) for place in places]
    samples = [draw(st.integers(0, len(files[i]) - start)) for i, start in zip(places, offsets, strict=True)]
    return files, places, offsets, samples


def taped(folder, files, places, offsets, samples):
    """A tape, and its recordings as they ought to be."""
    paths = tuple(folder / f"{i}.pcm" for i in range(len(files)))
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content.astype("<i2").tobytes())
    tape = Tape.of(paths, np.array(places), np.array(offsets), np.array(samples))
    return tape, [files[i][start : start + n] for i, start, n in zip(places, offsets, samples, strict=True)]


def slow_rows(pieces, size, chunk_length, full_rows, joined):
    """u_1, x_1, .., x_n of every row, (n + 1, D)."""
    rows = []
    for piece in [np.concatenate(pieces)] if joined else pieces:
        frames = [piece[at : at + size] for at in range(0, len(piece) - size + 1, size)]
        step = chunk_length or max(1, len(frames))
        for first in range(1, len(frames), step):
            row = frames[first - 1 : first + step]
            if len(row) == step + 1 or not (full_rows and chunk_length):
                rows.append(np.stack(row))
    return rows


@settings(max_examples=100, deadline=None)
@given(found=recordings(), data=st.data())
def test_a_tape_reads_as_its_recordings_joined(tmp_path_factory, found, data):
    tape, pieces = taped(tmp_path_factory.getbasetemp(), *found)
    whole = np.concatenate(pieces)
    assert tape.starts.tolist() == [sum(found[3][:i]) for i in range(len(pieces))]
    start = data.draw(st.integers(0, max(0, len(whole) - 1)))
    stop = data.draw(st.integers(start + 1, max(start + 1, len(whole))))
    if len(whole):
        np.testing.assert_array_equal(tape.read(start, stop), whole[start:stop])


@settings(max_examples=200, deadline=None)
@given(
    found=recordings(),
    size=st.integers(1, 7),
    chunk_length=st.integers(0, 6),
    full_rows=st.booleans(),
    joined=st.booleans(),
    data=st.data(),
)
def test_frames_are_those_of_the_definition(tmp_path_factory, found, size, chunk_length, full_rows, joined, data):
    tape, pieces = taped(tmp_path_factory.getbasetemp(), *found)
    how = {"chunk_length": chunk_length, "full_rows": full_rows, "joined": joined}
    split = Waveforms.of(tape, frame_size=size, mean=-3.5, std=4.0, **how)
    expected = [(row + 3.5) / 4 for row in slow_rows(pieces, size, **how)]  # exact in single precision
    assert split.lengths.tolist() == [len(row) - 1 for row in expected]
    for i, row in enumerate(expected):
        np.testing.assert_array_equal(split.frames(i), row)
    chosen = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=4)) if expected else []
    scored = split.scored(np.array(chosen, int))
    np.testing.assert_array_equal(scored, np.concatenate([np.zeros((0, size)), *(expected[i][1:] for i in chosen)]))
    assert split.of_epoch(0, 3) is split
    if not chosen:
        return
    batch = split.batch(np.array(chosen))
    assert batch.first_input_is_data
    assert batch.lengths.tolist() == [len(expected[i]) - 1 for i in chosen]
    for column, i in enumerate(chosen):
        steps = len(expected[i]) - 1
        np.testing.assert_array_equal(batch.inputs[:steps, column], expected[i][:-1])
        np.testing.assert_array_equal(batch.targets[:steps, column], expected[i][1:])
        assert not batch.inputs[steps:, column].any()
        assert not batch.targets[steps:, column].any()


@given(lengths=st.lists(st.integers(0, 20), max_size=6), chunk_length=st.integers(0, 8))
def test_rows_are_cut_as_by_a_loop(lengths, chunk_length):
    expected = []
    for piece, length in enumerate(lengths):
        step = chunk_length or length or 1
        expected += [(piece, first, min(step, length - first)) for first in range(0, length, step)]
    assert list(zip(*(each.tolist() for each in cut(np.array(lengths, int), chunk_length)), strict=True)) == expected


def some_waveforms(folder):
    """Ten rows of ten frames from two recordings in two files, and their frames."""
    files = [noise(510, 1), noise(560, 2)]
    tape, pieces = taped(folder, files, [0, 1], [0, 40], [510, 520])
    split = Waveforms.of(tape, frame_size=10, mean=-3.5, std=4.0, chunk_length=10)
    return split, [(row + 3.5) / 4 for row in slow_rows(pieces, 10, 10, False, False)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_what_is_there(tmp_path, method):
    split, rows = some_waveforms(tmp_path)
    batches = [np.array([3, 0]), np.array([9])]
    loader = DataLoader(_Batches(split, batches), batch_size=None, num_workers=1, multiprocessing_context=method)
    found = list(loader)
    assert len(found) == 2
    for batch, chosen in zip(found, batches, strict=True):
        np.testing.assert_array_equal(batch.targets, torch.tensor(np.stack([rows[i][1:] for i in chosen], 1)))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("cut_short", [True, False])
def test_a_shard_that_is_cut_or_removed_while_it_is_read_gives_one_line(tmp_path, cut_short, workers):
    split, rows = some_waveforms(tmp_path)
    last = np.array([len(rows) - 1])
    np.testing.assert_array_equal(split.frames(int(last[0])), rows[-1])
    if cut_short:
        os.truncate(tmp_path / "1.pcm", 2 * 555)
    else:
        (tmp_path / "1.pcm").unlink()
    batches = fetched(split, [np.array([0]), last], workers)
    np.testing.assert_array_equal(next(batches).targets[:, 0], rows[0][1:])
    with pytest.raises(
        InputError, match="shorter than it was; prepare" if cut_short else "cannot be read any more"
    ) as e:
        next(batches)
    assert str(tmp_path / "1.pcm") in str(e.value)
    assert "\n" not in str(e.value)
