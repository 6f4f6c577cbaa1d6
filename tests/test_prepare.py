"""Prepared audio: whatever stops a preparation, the next one goes on, and no wrong sample is ever read."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from zf_pyro.data.reading import names_below
from zf_pyro.data.speech import SpeechSettings, prepare_audio
from zf_pyro.data.speech.collection import collect
from zf_pyro.data.speech.decode import Recording
from zf_pyro.data.speech.prepare import LOCK, Preparation, locked
from zf_pyro.data.speech.shards import FORMAT, MANIFEST
from zf_pyro.errors import InputError

RATE = 16_000
SKIP = {"damaged": "skip"}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Every recording has a shard of its own, as files of some size have."""
    monkeypatch.setattr("zf_pyro.data.speech.prepare.SHARD_BYTES", 1)


def samples_of(seed):
    random = np.random.default_rng(seed)
    return random.integers(-(2**15), 2**15, 450 + int(random.integers(100)), dtype=np.int16)


def write_folder(folder, count=5, first=0):
    """Recordings of noise, all different."""
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        soundfile.write(folder / f"{number:02}.wav", samples_of(number), RATE)
    return folder


def prepare(source, folder, workers=1, **fields):
    return prepare_audio(source, folder, SpeechSettings(**fields), workers=workers, say=lambda line: None)


def opened(folder, **fields):
    """The recordings of a folder by name, as training reads them, and the remarks."""
    found = collect(folder, SpeechSettings(**fields), lambda line: None)
    every = range(len(found.pieces))
    tape = found.tape(every)
    parts = {found.pieces[i].name: tape.read(int(tape.starts[i]), int(tape.ends[i])) for i in every}
    return parts, "; ".join(found.remarks)


def contents(folder):
    """What is in a prepared folder, but for the times at which it was made."""
    held = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK}
    if MANIFEST in held:
        table = json.loads(held[MANIFEST])
        held[MANIFEST] = {**table, "shards": [{**shard, "changed": 0} for shard in table["shards"]]}
    return held


def names(folder, suffix):
    return sorted(path.name for path in folder.glob(f"*{suffix}"))


@pytest.fixture
def made(monkeypatch):
    """The names of the files of every shard that is made from here on."""
    seen = []
    real = Preparation.shard

    def shard(self, key, files):
        seen.append([path.name for path in files])
        return real(self, key, files)

    monkeypatch.setattr(Preparation, "shard", shard)
    return seen


def one_line(error):
    """The line of an error on standard error; the bar of progress stands there too."""
    lines = [line for line in error.replace("\r", "\n").splitlines() if line and not line.startswith("Preparing:")]
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    return lines[0]


def assert_refused(pattern, source, *arguments, **fields):
    """A function of a folder raises one line."""
    with pytest.raises(InputError, match=pattern) as caught:
        source(*arguments, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is prepared


@pytest.mark.parametrize("count", [1, 5, 40])
def test_a_prepared_folder_holds_the_samples_their_sums_and_their_hashes(tmp_path, count):
    source, folder = write_folder(tmp_path / "a", count), tmp_path / "p"
    prepared = prepare(source, folder)
    table = json.loads((folder / MANIFEST).read_text())
    assert (table["format"], table["rate"], table["other"]) == (FORMAT, RATE, [])
    assert len(names(folder, ".pcm")) == len(table["shards"]) == len(prepared.shards)
    assert names(folder, ".json") == [MANIFEST]
    found = {}
    for shard in table["shards"]:
        content = (folder / f"{shard['key']}.pcm").read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
        samples = np.frombuffer(content, "<i2")
        assert len(samples) == shard["samples"] == sum(piece["samples"] for piece in shard["pieces"])
        for piece in shard["pieces"]:
            part = samples[piece["start"] : piece["start"] + piece["samples"]].astype(np.int64)
            assert (piece["total"], piece["squares"]) == (part.sum(), (part**2).sum())
            assert piece["sha256"] == hashlib.sha256((source / piece["name"]).read_bytes()).hexdigest()
            assert (piece["source_rate"], piece["channels"], piece["clipped"]) == (RATE, 1, 0)
            found[piece["name"]] = part
    assert sorted(found) == sorted(os.listdir(source))
    for number in range(count):
        np.testing.assert_array_equal(found[f"{number:02}.wav"], samples_of(number))
    read, remarks = opened(folder)
    assert remarks == ""
    for name, part in opened(source)[0].items():
        np.testing.assert_array_equal(part, found[name])
        np.testing.assert_array_equal(read[name], found[name])


def test_sums_of_the_loudest_samples_are_exact(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(300_000, -(2**15), np.int16), RATE)
    (shard,) = prepare(tmp_path / "a.wav", tmp_path / "p").shards
    assert (shard.pieces[0].total, shard.pieces[0].squares) == (-300_000 * 2**15, 300_000 * 2**30)


def test_the_number_of_workers_changes_nothing(tmp_path):
    source = write_folder(tmp_path / "a", 40)
    (source / "07.wav").write_bytes(b"")
    for workers in (0, 1, 2, 7):
        prepare(source, tmp_path / f"p{workers}", workers, **SKIP)
    one = contents(tmp_path / "p1")
    assert len(one) > 10
    assert all(contents(tmp_path / f"p{workers}") == one for workers in (0, 2, 7))


def test_what_was_converted_is_counted(tmp_path):
    source = write_folder(tmp_path / "a", 2)
    for name in ("b", "c"):
        soundfile.write(source / f"{name}.wav", np.zeros((8_000, 2)), 8_000)
    soundfile.write(source / "d.wav", np.array([0.0] * 500 + [2.0, -3.0, 4.0]), RATE, subtype="FLOAT")
    soundfile.write(source / "short.wav", np.zeros(399), RATE)
    parts, remarks = opened(source)
    assert len(parts["b.wav"]) == RATE
    assert "2 resampled from 8,000 to 16,000 samples a second" in remarks
    assert "2 of several channels averaged to one" in remarks
    assert "3 samples clipped" in remarks
    assert "left out as shorter than two frames: 1 (short.wav)" in remarks


def test_what_is_no_audio_is_left_out_and_listed(tmp_path):
    source = write_folder(tmp_path / "a", 2)
    (source / "deep").mkdir()
    (source / "deep" / "talk.wav").write_text("These are my notes on the talk.")
    (source / "song.mp3").write_text("No song.")
    (source / "README.txt").write_text("Two recordings.")
    prepare(source, tmp_path / "p")
    table = json.loads((tmp_path / "p" / MANIFEST).read_text())
    assert table["other"] == ["README.txt"]
    assert sorted(name for shard in table["shards"] for name in shard["not_audio"]) == ["deep/talk.wav", "song.mp3"]
    parts, remarks = opened(tmp_path / "p")
    assert sorted(parts) == ["00.wav", "01.wav"]
    assert remarks == "left out as no audio of a kind that is read: 3 (README.txt, deep/talk.wav, song.mp3)"
    assert opened(source)[1] == remarks


@pytest.mark.parametrize("link", ["other", "00-first"])
def test_links_are_followed_and_a_file_counts_once(tmp_path, link):
    source, far = write_folder(tmp_path / "a", 2), write_folder(tmp_path / "far", 1, first=7)
    (source / "inner").mkdir()
    shutil.move(source / "01.wav", source / "inner")
    (source / "inner" / "loop").symlink_to(source)
    (source / "self").symlink_to("self")
    (source / link).symlink_to(far)
    (source / "zagain").symlink_to(far)
    (source / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    parts, remarks = opened(source)
    assert sorted(parts) == sorted(["00.wav", "inner/01.wav", f"{link}/07.wav"])
    assert remarks == "left out as no audio of a kind that is read: 2 (gone.wav, self)"


def test_names_below_a_folder_are_sorted_and_not_hidden(tmp_path):
    for name in ("b/x", "a.wav", "b/.x", ".git/config", "b/c/y", ".DS_Store", "B"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b" / "up").symlink_to("..")
    (tmp_path / "broken").symlink_to("nowhere")
    assert names_below(tmp_path) == [str(tmp_path / name) for name in ("B", "a.wav", "b/c/y", "b/x", "broken")]
    with pytest.raises(OSError, match="nothing"):
        names_below(tmp_path / "nothing")


def test_hidden_files_are_no_recordings(tmp_path):
    source = write_folder(tmp_path / "a", 2)
    (source / "._00.wav").write_bytes(b"\0\5\x16\7")
    shutil.copytree(source, source / ".trash")
    assert (sorted(opened(source)[0]), opened(source)[1]) == (["00.wav", "01.wav"], "")


def test_names_that_are_not_utf8_are_prepared_and_told(zf, tmp_path):
    source = write_folder(tmp_path / "a", 2)
    odd = [os.fsdecode(name) for name in (b"caf\xe9.wav", b"empty\xff.wav", b"note\xff.txt", b"text\xff.wav")]
    shutil.copy(source / "00.wav", source / odd[0])
    for name, content in zip(odd[1:], (b"", b"hello", b"hello"), strict=True):
        (source / name).write_bytes(content)
    assert_refused("empty, 0 bytes", prepare, source, tmp_path / "p")
    assert (
        zf("prepare", "audio", "--data", source, "--to", tmp_path / "p", "--set", "damaged=skip")[0] == 0
    )  # and prints them
    for place in (source, tmp_path / "p"):
        parts, remarks = opened(place, **SKIP)
        np.testing.assert_array_equal(parts[odd[0]], parts["00.wav"])
        assert len(parts) == 3
        assert "left out as no audio of a kind that is read: 2 (" in remarks
        assert "left out as damaged: 1 (" in remarks


# Damaged recordings


def write_damaged(folder, count):
    """Ten recordings, of which the first are empty."""
    write_folder(folder, 10)
    for number in range(count):
        (folder / f"{number:02}.wav").write_bytes(b"")
    return folder


@pytest.mark.parametrize("count", [1, 3, 5])
def test_damaged_files_are_refused_all_at_once_and_nothing_is_lost(tmp_path, made, count):
    source, folder = write_damaged(tmp_path / "a", count), tmp_path / "p"
    told = assert_refused("--set damaged=skip leaves them out", prepare, source, folder)
    for number in range(min(3, count)):
        assert f"{number:02}.wav: empty, 0 bytes" in told
    assert ("(and 2 more damaged files)" in told) == (count == 5)
    assert names(folder, ".pcm") == [name.replace("json", "pcm") for name in names(folder, ".json")]
    assert len(made) == len(names(folder, ".pcm")) == 10
    assert not (folder / MANIFEST).exists()
    made.clear()
    prepare(source, folder, **SKIP)
    assert not made
    parts, remarks = opened(folder)
    assert sorted(parts) == [f"{number:02}.wav" for number in range(count, 10)]
    assert f"left out as damaged: {count} ({source / '00.wav'}: empty" in remarks
    assert_refused("--set damaged=skip", prepare, source, folder)
    assert opened(folder)[0].keys() == parts.keys()


def test_what_came_before_the_damage_is_not_kept(tmp_path, monkeypatch):
    """The damage is at the end of a file, after blocks that were written."""
    monkeypatch.setattr("zf_pyro.data.speech.decode.BLOCK", 100)
    monkeypatch.setattr("zf_pyro.data.speech.prepare.SHARD_BYTES", 1 << 50)  # all in one shard
    source = write_folder(tmp_path / "a", 40)
    for name in ("00", "17", "39"):
        content = (source / f"{name}.wav").read_bytes()
        (source / f"{name}.wav").write_bytes(content[:-2])
    (shard,) = prepare(source, tmp_path / "p", **SKIP).shards
    assert len(shard.damaged) == 3
    parts, _ = opened(tmp_path / "p")
    assert len(parts) == 37
    for name, part in parts.items():
        np.testing.assert_array_equal(part, samples_of(int(name[:2])))
    assert hashlib.sha256(shard.path(tmp_path / "p").read_bytes()).hexdigest() == shard.sha256


def test_a_folder_of_nothing_but_damage_says_so(tmp_path):
    source = tmp_path / "a"
    source.mkdir()
    assert_refused("no audio; give a folder", prepare, source, tmp_path / "p")
    assert not (tmp_path / "p").exists()
    (source / "a.wav").write_bytes(b"")
    assert_refused("empty, 0 bytes", prepare, source, tmp_path / "p")
    assert_refused("no recording of at least two frames", opened, source, **SKIP)


# Stopping and going on


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("no more"), OSError(errno.EIO, "broken")])
@pytest.mark.parametrize("after", [0, 4])
def test_a_preparation_that_was_stopped_is_gone_on_with(tmp_path, monkeypatch, made, after, error):
    source, folder = write_folder(tmp_path / "a", 10), tmp_path / "p"
    prepare(source, tmp_path / "whole")
    assert len(made) == 10
    made.clear()
    counting = Preparation.shard

    def failing(self, key, files):
        if len(made) >= after:
            raise error
        return counting(self, key, files)

    monkeypatch.setattr(Preparation, "shard", failing)
    with pytest.raises(InputError if isinstance(error, OSError) else type(error)):
        prepare(source, folder)
    monkeypatch.setattr(Preparation, "shard", counting)
    assert len(names(folder, ".pcm")) == len(names(folder, ".json")) == after
    assert not (folder / MANIFEST).exists()
    first = list(made)
    prepare(source, folder)
    assert len(made) == 10
    assert not [group for group in made[after:] if group in first]
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_preparation_that_was_killed_is_gone_on_with(tmp_path, made):
    """Shards with their notes, shards without, notes that are torn, and beginnings of either."""
    source, folder = write_folder(tmp_path / "a", 5), tmp_path / "p"
    prepare(source, folder)
    whole, table = contents(folder), json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).unlink()
    notes = [json.dumps(shard) for shard in table["shards"][:4]]
    notes[1], notes[2], notes[3] = notes[1][:50], "{}", "[1]"
    for shard, note in zip(table["shards"], notes, strict=False):
        (folder / f"{shard['key']}.json").write_text(note)
    for name in (table["shards"][4]["key"] + ".pcm", MANIFEST):
        (folder / f"{name}.{'0' * 32}.tmp").write_bytes(b"half")
    made.clear()
    prepare(source, folder)
    assert len(made) == 4
    assert contents(folder) == whole


def test_a_preparation_stops_in_the_middle_of_a_file_where_another_failed(tmp_path, monkeypatch):
    """A second worker reads an endless file: only being told to stop ends it."""
    source, reading = write_folder(tmp_path / "a", 2), threading.Event()

    def blocks(self):
        if self.path.name == "00.wav":
            while True:
                reading.set()
                yield np.zeros(10, np.int16)
        assert reading.wait(60)
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Recording, "blocks", blocks)
    assert_refused("cannot write into .*: broken", prepare, source, tmp_path / "p", workers=2)
    assert names(tmp_path / "p", "") == [LOCK]


@pytest.mark.parametrize("change", ["add", "replace", "touch", "remove"])
def test_a_change_of_one_file_makes_one_shard_anew(tmp_path, made, change, monkeypatch):
    monkeypatch.setattr("zf_pyro.data.speech.prepare.SHARD_BYTES", 2_000)  # two recordings, about
    source, folder = write_folder(tmp_path / "a", 40), tmp_path / "p"
    prepare(source, folder)
    assert 10 < len(made) < 30
    made.clear()
    prepare(source, folder)
    assert not made
    if change == "add":
        soundfile.write(source / "20b.wav", samples_of(99), RATE)
    elif change == "replace":
        soundfile.write(source / "20.wav", samples_of(99), RATE)
    elif change == "touch":
        os.utime(source / "20.wav", ns=(0, 0))
    else:
        (source / "20.wav").unlink()
    prepare(source, folder)
    assert len(made) <= 2
    assert made or change == "remove"  # a file alone in its shard goes with it
    prepare(source, tmp_path / "fresh")
    assert contents(folder) == contents(tmp_path / "fresh")


def test_other_rates_do_not_share_shards(tmp_path):
    source, folder = write_folder(tmp_path / "a"), tmp_path / "p"
    prepare(source, folder)
    before = contents(folder)
    with pytest.raises(InputError, match=r"prepared from other files, or at another rate; choose another folder"):
        prepare(source, folder, sample_rate=8_000)
    assert contents(folder) == before
    prepare_audio(source, folder, SpeechSettings(sample_rate=8_000), replace=True, say=print)
    prepare(source, tmp_path / "fresh", sample_rate=8_000)
    assert contents(folder) == contents(tmp_path / "fresh")


def test_recordings_that_are_gone_are_told(tmp_path):
    source, folder, told = write_folder(tmp_path / "a"), tmp_path / "p", []
    prepare(source, folder)
    (source / "01.wav").unlink()
    prepare_audio(source, folder, SpeechSettings(), say=told.append)
    assert told == [f"No longer in {source}, and removed from {folder}: 1 recordings"]
    assert len(opened(folder)[0]) == 4


def test_a_preparation_that_did_not_finish_is_no_data(tmp_path, made):
    source, folder = write_folder(tmp_path / "a"), tmp_path / "p"
    prepare(source, folder)
    (folder / MANIFEST).unlink()
    assert_refused("a preparation that did not finish: run it again", opened, folder)


def test_another_source_does_not_replace_what_is_prepared(tmp_path):
    folder = tmp_path / "p"
    prepare(write_folder(tmp_path / "a"), folder)
    before = contents(folder)
    with pytest.raises(InputError, match=r"prepared from other files"):
        prepare(write_folder(tmp_path / "b", 20), folder)
    assert contents(folder) == before


def prepare_when(free, source, folder):
    free.wait(60)
    prepare(source, folder)


def test_two_processes_prepare_into_one_folder(tmp_path):
    source, folder = write_folder(tmp_path / "a", 20), tmp_path / "p"
    prepare(source, tmp_path / "whole")
    context = multiprocessing.get_context("fork")
    free = context.Event()
    both = [context.Process(target=prepare_when, args=(free, source, folder)) for _ in range(2)]
    for each in both:  # before the lock is taken, which they would inherit
        each.start()
    folder.mkdir()
    with locked(folder, print):
        free.set()
        both[0].join(0.3)
        assert both[0].is_alive()  # it waits
        assert contents(folder) == {}
    for each in both:
        each.join(60)
    assert [each.exitcode for each in both] == [0, 0]
    assert contents(folder) == contents(tmp_path / "whole")


# A disk that fills


def test_a_disk_that_fills_leaves_whole_shards_alone(zf, tmp_path, monkeypatch, made):
    source, folder = write_folder(tmp_path / "a", 10), tmp_path / "p"
    command = ["prepare", "audio", "--data", source, "--to", folder, "--workers", 1]
    with monkeypatch.context() as patch:
        fill = Preparation.fill

        def full(self, shard, output, files):
            fill(self, shard, output, files)
            if len(made) > 6:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(Preparation, "fill", full)
        status, _, error = zf(*command)
    assert status == 1
    assert one_line(error) == f"error: cannot write into {folder}: No space left on device"
    assert len(names(folder, ".pcm")) == len(names(folder, ".json")) == 6
    assert not names(folder, ".tmp")
    begun = len(made)
    assert zf(*command)[0] == 0
    assert len(made) == begun + 4
    prepare(source, tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole")


def test_files_that_may_not_grow_leave_whole_shards_alone(zf, tmp_path, made):
    """As where a disk fills, by a limit of the system."""
    source, folder = write_folder(tmp_path / "a", 4), tmp_path / "p"
    soundfile.write(source / "long.wav", np.tile(samples_of(0), 500), RATE)
    command = ["prepare", "audio", "--data", str(source), "--to", str(folder), "--workers", "1"]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from zf_pyro.cli import main; from zf_pyro.data.speech import prepare; prepare.SHARD_BYTES = 1; main()",
            *command,
        ],
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert one_line(done.stderr) == f"error: cannot write into {folder}: File too large"
    assert len(names(folder, ".pcm")) == len(names(folder, ".json")) == 4
    assert not names(folder, ".tmp")
    assert zf(*command)[0] == 0
    assert made == [["long.wav"]]
    prepare(source, tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole")


# A prepared folder that is not as it was


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


SHARD_DAMAGE = {
    "flip": flip,
    "truncate": lambda path: os.truncate(path, path.stat().st_size - 2),
    "grow": lambda path: path.write_bytes(path.read_bytes() + b"\0\0"),
    "delete": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", SHARD_DAMAGE)
def test_a_shard_that_does_not_match_is_refused_and_made_again(tmp_path, made, damage):
    source, folder = write_folder(tmp_path / "a"), tmp_path / "p"
    prepare(source, folder)
    whole = contents(folder)
    path = folder / names(folder, ".pcm")[2]
    SHARD_DAMAGE[damage](path)
    made.clear()
    told = assert_refused("gone, or does not match its checksum; prepare the data again", opened, folder)
    assert told.startswith(str(path))
    assert not made
    prepare(source, folder)
    assert len(made) == 1
    assert contents(folder) == whole
    assert len(opened(folder)[0]) == 5


@pytest.mark.parametrize("damage", SHARD_DAMAGE)
def test_a_shard_of_the_cache_that_does_not_match_is_made_again(tmp_path, own_cache, made, damage):
    source = write_folder(tmp_path / "a")
    parts, _ = opened(source)
    assert len(made) == 5
    (place,) = (own_cache / "audio").iterdir()
    whole = contents(place)
    SHARD_DAMAGE[damage](place / names(place, ".pcm")[2])
    made.clear()
    again, _ = opened(source)
    assert len(made) == 1
    for name, part in parts.items():
        np.testing.assert_array_equal(again[name], part)
    assert contents(place) == whole
    opened(source)
    assert len(made) == 1


def test_a_shard_that_was_only_touched_is_accepted_by_its_hash(tmp_path, made, monkeypatch):
    source, folder = write_folder(tmp_path / "a"), tmp_path / "p"
    prepare(source, folder)
    made.clear()
    for name in names(folder, ".pcm"):
        os.utime(folder / name, ns=(0, 0))
    assert len(opened(folder)[0]) == 5
    prepare(source, folder)
    assert not made
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    assert len(opened(tmp_path / "copy")[0]) == 5
    monkeypatch.setattr("zf_pyro.data.speech.shards.sha256_of", lambda path: "not asked for again")
    assert len(opened(tmp_path / "copy")[0]) == 5


BEGUN = {"format": FORMAT, "rate": RATE, "shards": [], "other": []}
MANIFESTS = {
    "no rate": {"format": FORMAT, "shards": [], "other": []},
    "no shards": {**BEGUN, "shards": 3},
    "odd shards": {**BEGUN, "shards": [{"key": 1}]},
    "odd pieces": {**BEGUN, "shards": [{"key": "a", "pieces": [3]}]},
    "list for shard": {**BEGUN, "shards": [[]]},
}


@pytest.mark.parametrize("kind", ["torn", *MANIFESTS])
def test_a_damaged_manifest_is_refused_and_made_again(tmp_path, kind):
    source, folder = write_folder(tmp_path / "a"), tmp_path / "p"
    prepare(source, folder)
    whole, path = contents(folder), folder / MANIFEST
    path.write_text(path.read_text()[:-30] if kind == "torn" else json.dumps(MANIFESTS[kind]))
    assert_refused("manifest.json: damaged; prepare the data again", opened, folder)
    prepare(source, folder)
    assert contents(folder) == whole


@pytest.mark.parametrize("kind", ["torn", "version"])
def test_a_manifest_of_the_cache_that_cannot_be_used_is_made_again(tmp_path, own_cache, kind):
    source = write_folder(tmp_path / "a")
    opened(source)
    (place,) = (own_cache / "audio").iterdir()
    whole, path = contents(place), place / MANIFEST
    text = path.read_text()
    path.write_text(text[:-30] if kind == "torn" else text.replace(FORMAT, "zf_pyro audio 0"))
    assert len(opened(source)[0]) == 5
    assert contents(place) == whole


def test_another_version_or_rate_is_refused(tmp_path):
    source, folder = write_folder(tmp_path / "a"), tmp_path / "p"
    prepare(source, folder)
    assert_refused("prepared at 16000 samples a second, not sample_rate = 8000", opened, folder, sample_rate=8_000)
    path = folder / MANIFEST
    path.write_text(path.read_text().replace(FORMAT, "zf_pyro audio 0"))
    assert_refused("prepared by another version of zf_pyro; prepare it again", opened, folder)
    prepare(source, folder)
    assert len(opened(folder)[0]) == 5


@pytest.mark.parametrize("name", ["notes.txt", MANIFEST, "package.json", "a.pcm", "deep/a.wav", ".hidden", "x.tmp"])
@pytest.mark.parametrize("content", [b"mine", b'{"name": "mine"}', b"[]", b'{"shards": []}'])
def test_a_folder_with_something_else_is_refused_and_left_alone(zf, tmp_path, name, content):
    folder = tmp_path / "mine"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(content)
    state = (folder / name).stat().st_mtime_ns
    source = write_folder(tmp_path / "a", 2)
    status, output, error = zf("prepare", "audio", "--data", source, "--to", folder)
    assert (status, output) == (2, "")
    assert "which is no prepared audio; choose another folder" in one_line(error)
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == [name]
    assert ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) == (content, state)


def test_something_else_in_a_prepared_folder_is_left_alone(tmp_path):
    source, folder = write_folder(tmp_path / "a", 2), tmp_path / "p"
    prepare(source, folder)
    (folder / "notes.txt").write_text("mine")
    held = contents(folder)
    assert_refused("holds 'notes.txt', which is no prepared audio", prepare, source, folder, sample_rate=8_000)
    assert contents(folder) == held


# The command


def test_the_command_prepares_and_says_what_it_did(zf, tmp_path, made):
    source, folder = write_folder(tmp_path / "a", 3), tmp_path / "deep" / "p"
    (source / "readme.md").write_text("three")
    status, output, _ = zf("prepare", "blizzard", "--data", source, "--to", folder, "--workers", 2)
    assert status == 0
    assert output.splitlines() == [
        f"Preparing 3 audio files; the outcome is kept in {folder}",
        "3 recordings of 0.0 minutes in 3 shards",
        "left out as no audio of a kind that is read: 1 (readme.md)",
        f"Prepared: {folder}; train with --data {folder}",
    ]
    made.clear()
    status, output, error = zf("prepare", "blizzard", "--data", source, "--to", folder)
    assert (status, error, made) == (0, "", [])
    assert "Preparing" not in output
    folder = tmp_path / "slower"
    assert zf("prepare", "audio", "--data", source, "--to", folder, "--set", "sample_rate=8000")[0] == 0
    assert [len(part) for part in opened(folder, sample_rate=8_000, frame_size=100)[0].values()] == pytest.approx(
        [len(samples_of(i)) / 2 for i in range(3)], abs=1
    )


def test_one_file_is_prepared_too(zf, tmp_path):
    source = write_folder(tmp_path / "a", 1) / "00.wav"
    assert zf("prepare", "audio", "--data", source, "--to", tmp_path / "p")[0] == 0
    np.testing.assert_array_equal(opened(tmp_path / "p")[0]["00.wav"], samples_of(0))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["imdb", "--data", "a", "--to", "p"], "imdb needs no preparation; timit, blizzard and audio are prepared"),
        (["speech", "--data", "a", "--to", "p"], "speech"),
        (["audio", "--data", "a"], "--to"),
        (["audio", "--to", "p"], "name the files with --data PATH"),
        (["audio", "--data", "nowhere", "--to", "p"], "nowhere: no such file or folder"),
        (["audio", "--data", "empty", "--to", "p"], "empty: no audio; give a folder"),
        (["audio", "--data", "note.txt", "--to", "p"], "note.txt: no audio; give a folder"),
        (["audio", "--data", "done", "--to", "p"], "done is prepared audio already"),
        (["audio", "--data", "a", "--to", "note.txt"], "note.txt is a file; --to names a folder"),
        (["audio", "--data", "a", "--to", "note.txt/p"], "note.txt/p: Not a directory"),
        (["audio", "--data", "a", "--to", "b"], "b holds 'no.txt', which is no prepared audio"),
        (["audio", "--data", "a", "--to", "a"], "a lies inside"),
        (["audio", "--data", "a", "--to", "a/deep/p"], "p lies inside"),
        (["audio", "--data", "a", "--to", "p", "--workers", "-1"], "--workers"),
        (["audio", "--data", "a", "--to", "p", "--set", "sample_rate=10"], "sample_rate = 10: it is to be at least"),
        (["audio", "--data", "a", "--to", "p", "--set", "damaged=maybe"], "damaged"),
        (["audio", "--data", "a", "--to", "p", "--set", "nonsense=1"], "nonsense"),
    ],
)
def test_a_mistake_on_the_command_line_gives_one_line(zf, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "a", 2)
    prepare(tmp_path / "a", tmp_path / "done")
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("note")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "no.txt").write_text("note")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    status, output, error = zf("prepare", *arguments)
    assert (status, output) == (2, "")
    assert told in one_line(error)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_ctrl_c_ends_the_command_with_one_line(zf, tmp_path, monkeypatch, made):
    source, folder = write_folder(tmp_path / "a", 6), tmp_path / "p"
    command = ["prepare", "audio", "--data", source, "--to", folder, "--workers", 1]
    fill = Preparation.fill

    def interrupted(self, shard, output, files):
        if len(made) == 3:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            assert self.stopped.wait(60)
        fill(self, shard, output, files)

    with monkeypatch.context() as patch:
        patch.setattr(Preparation, "fill", interrupted)
        status, _, error = zf(*command)
    assert status == 130
    assert error.splitlines()[-1] == "interrupted"
    assert len(names(folder, ".pcm")) == len(names(folder, ".json")) == 2
    assert not names(folder, ".tmp")
    made.clear()
    assert zf(*command)[0] == 0
    assert len(made) == 4
