"""Files made to do harm: each is refused in one line, and nothing is run, written or filled."""

import gzip
import io
import json
import lzma
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toy_runs import TINY
from zf_pyro.data import reading
from zf_pyro.data.speech.shards import as_shard
from zf_pyro.errors import InputError
from zf_pyro.metrics import read_metrics
from zf_pyro.report.usage import stored
from zf_pyro.runs import read_observation


class Trap:
    """Leaves a trace where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def refused(outcome):
    """The one line of a command that ended as a mistake of the user's is to end."""
    status, _, error = outcome
    assert (status, error.count("\n")) == (2, 1), error
    assert error.startswith("error: ")
    return error


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Pickles


def pickled_array(trap):
    stream = io.BytesIO()
    np.save(stream, np.array([trap]), allow_pickle=True)
    return stream.getvalue()


def zipped(members, packing=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_the_trap_closes_where_it_is_unpickled(tmp_path):
    torch.save(Trap(tmp_path / "owned"), tmp_path / "checkpoint.pt")
    torch.load(tmp_path / "checkpoint.pt", weights_only=False).close()
    assert (tmp_path / "owned").exists()
    array = pickled_array(Trap(tmp_path / "also"))
    np.load(io.BytesIO(array), allow_pickle=True)[0].close()
    assert (tmp_path / "also").exists()


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("command", ["evaluate", "report", "sample", "--resume"])
def test_a_pickle_in_a_checkpoint(command, form, finished, zf, run_py, tmp_path):
    trap = {"trainer": Trap(tmp_path / "owned")}
    torch.save(trap, finished / "checkpoint.pt", _use_new_zipfile_serialization=form == "zip")
    if command == "--resume":
        (finished / "results.json").unlink()
        (finished / "checkpoint-previous.pt").unlink()
    before = contents(tmp_path)
    outcome = run_py("--resume", finished) if command == "--resume" else zf(command, finished)
    assert "checkpoint.pt is damaged or of another version" in refused(outcome)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_a_pickle_in_arrays(name, run_py, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = pickled_array(Trap("owned"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(zipped({"train.npy": array}) if name == "x.npz" else array)
    assert "pickled objects" in refused(run_py("--dataset", "arrays", "--data", "data", *TINY))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_pickle_in_scores(finished, zf, tmp_path):
    """Scores that cannot be read are made again."""
    array = pickled_array(Trap(tmp_path / "owned"))
    (finished / "evaluation-5.npz").write_bytes(zipped({"indices.npy": array}))
    status, output, error = zf("compare", finished, "--output", tmp_path / "comparison")
    assert status == 0, error
    assert "Testing" in output
    assert not (tmp_path / "owned").exists()


def test_a_pickle_in_samples(run_py, zf, tmp_path, monkeypatch):
    """A page is made without what cannot be read, and says so."""
    monkeypatch.chdir(tmp_path)
    np.savez("bits.npz", **{name: np.eye(5)[None] for name in ("train", "valid", "test")})
    assert run_py("--dataset", "arrays", "--data", "bits.npz", *TINY, "--output", "run")[0] == 0
    (tmp_path / "run" / "samples.npz").write_bytes(zipped({"samples.npy": pickled_array(Trap("owned"))}))
    status, _, error = zf("report", "run")
    assert status == 0, error
    assert "pickled objects, which are never read" in (tmp_path / "run" / "report.html").read_text()
    assert not (tmp_path / "owned").exists()


# Archives

EVIL_MEMBERS = {
    "dots": ("../../train/pos/escaped.txt", {}),
    "absolute": ("{folder}/train/pos/escaped.txt", {}),
    "link": ("train/pos/escaped.txt", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
    "hard link": ("train/pos/escaped.txt", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}),
    "device": ("train/pos/escaped.txt", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}),
    "pipe": ("train/pos/escaped.txt", {"type": tarfile.FIFOTYPE}),
}


@pytest.mark.parametrize("name", EVIL_MEMBERS)
def test_an_archive_with_a_member_elsewhere(name, run_py, tmp_path, monkeypatch):
    """Nothing of an archive is unpacked, and only plain files in it are read: here none is long enough for a run."""
    place, fields = EVIL_MEMBERS[name]
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    member = tarfile.TarInfo(place.format(folder=tmp_path))
    content = b"" if fields else b"short .\n"
    for field, value in fields.items():
        setattr(member, field, value)
    member.size = len(content)
    with tarfile.open("evil.tar.gz", "w:gz") as archive:
        archive.addfile(member, io.BytesIO(content))
    before = sorted(tmp_path.rglob("*"))
    assert "evil.tar.gz" in refused(run_py("--dataset", "imdb", "--data", "evil.tar.gz", *TINY))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../escaped.npy", "/tmp/zf_pyro_escaped.npy"])
def test_an_npz_with_a_member_elsewhere(name, run_py, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    stream = io.BytesIO()
    np.save(stream, np.array(["no numbers"]))
    (tmp_path / "inner" / "evil.npz").write_bytes(zipped({name: stream.getvalue()}))
    before = sorted(tmp_path.rglob("*"))
    assert "evil.npz" in refused(run_py("--dataset", "arrays", "--data", "evil.npz", *TINY))
    assert sorted(tmp_path.rglob("*")) == before


# Bombs

MIB = 1 << 20


@pytest.fixture
def small_bound(monkeypatch):
    """The bound on what is unpacked, so low that a test can reach it."""
    monkeypatch.setattr(reading, "HARMLESS", MIB)


def tar_of_zeros():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("train/pos/1.txt")
        member.size = 16 * MIB
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    return stream.getvalue()


def npy_of_zeros():
    stream = io.BytesIO()
    np.save(stream, np.zeros((16, MIB), np.uint8))
    return stream.getvalue()


def idx_of_zeros():
    return np.array([2051, 16 * MIB // 784, 28, 28], ">u4").tobytes() + bytes(16 * MIB // 784 * 784)


BOMBS = {
    "text, gzip": ("imdb", "bomb.txt.gz", lambda: gzip.compress(bytes(16 * MIB))),
    "text, xz": ("imdb", "bomb.txt.xz", lambda: lzma.compress(bytes(16 * MIB))),
    "json, gzip": ("imdb", "bomb.json.gz", lambda: gzip.compress(b"[{" + b" " * 16 * MIB)),
    "lines, gzip": ("text", "bomb.txt.gz", lambda: gzip.compress(b"a" * 16 * MIB)),
    "tar, gzip": ("imdb", "bomb.tar.gz", lambda: gzip.compress(tar_of_zeros())),
    "tar, xz": ("imdb", "bomb.tar.xz", lambda: lzma.compress(tar_of_zeros())),
    "notes, gzip": ("jsb", "bomb.json", lambda: gzip.compress(b"[" * 16 * MIB)),
    "images, gzip": ("mnist", "train-images-idx3-ubyte.gz", lambda: gzip.compress(idx_of_zeros())),
    "bits, gzip": ("mnist", "binarized_mnist_train.amat.gz", lambda: gzip.compress((b"0 " * 784 + b"\n") * 10_700)),
    "arrays": ("arrays", "bomb.npz", lambda: zipped({"train.npy": npy_of_zeros()}, zipfile.ZIP_DEFLATED)),
    "piano rolls": ("jsb", "bomb.npz", lambda: zipped({"u_train.npy": npy_of_zeros()}, zipfile.ZIP_DEFLATED)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb(name, small_bound, run_py, tmp_path, monkeypatch):
    dataset, file, content = BOMBS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / file).write_bytes(content())
    assert (tmp_path / "data" / file).stat().st_size * reading.MOST_TIMES < 16 * MIB
    for other in ("t10k-images-idx3-ubyte.gz",) if "idx3" in file else ():
        shutil.copy(tmp_path / "data" / file, tmp_path / "data" / other)
    for split in ("valid", "test") if "amat" in file else ():
        shutil.copy(tmp_path / "data" / file, tmp_path / "data" / f"binarized_mnist_{split}.amat.gz")
    source = "data" if dataset == "mnist" else f"data/{file}"
    error = refused(run_py("--dataset", dataset, "--data", source, *TINY))
    assert f"{file}: unpacks to " in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_no_more_is_unpacked_than_the_bound(pack, small_bound, tmp_path):
    (tmp_path / "bomb").write_bytes(pack(bytes(16 * MIB)))
    taken = []

    def take():
        with reading.unpacked(tmp_path / "bomb") as stream:
            while chunk := stream.read(1 << 12):
                taken.append(len(chunk))

    with pytest.raises(InputError, match="unpacks to"):
        take()
    limit = max(MIB, reading.MOST_TIMES * (tmp_path / "bomb").stat().st_size)
    assert limit - (1 << 17) < sum(taken) <= limit


def test_what_is_packed_well_is_no_bomb(small_bound, tmp_path):
    content = np.random.default_rng(0).integers(0, 256, 4 * MIB, np.uint8).tobytes() + bytes(60 * MIB)
    (tmp_path / "data.gz").write_bytes(gzip.compress(content))
    with reading.unpacked(tmp_path / "data.gz") as stream:
        assert stream.read() == content


def test_a_checkpoint_that_is_packed(finished, zf):
    path = finished / "checkpoint.pt"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    path.write_bytes(zipped({**members, "archive/data/zeros": bytes(MIB)}, zipfile.ZIP_DEFLATED))
    assert "checkpoints are not packed" in refused(zf("evaluate", finished, "--num-particles", 3))


# The files of a run

LINES = {
    "no json": b"x\n",
    "nested": b"[" * 50_000 + b"\n",
    "long": b'{"step": 1, "loss": ' + b"1" * 100_000 + b"}\n",
    "long number": b'{"step": 1, "loss": ' + b"1" * 5_000 + b"}\n",
    "beyond a float": b'{"step": 1, "loss": 1' + b"0" * 400 + b"}\n",
    "infinite": b'{"step": 1, "loss": 1e999}\n',
    "NaN": b'{"step": 1, "loss": NaN}\n',
    "too large to draw": b'{"step": 1, "loss": 1e300}\n',
    "a text for a number": b'{"step": 1, "loss": "<script>alert(1)</script>"}\n',
    "a list for a number": b'{"step": 1, "loss": [1]}\n',
    "a table for a number": b'{"step": 1, "elbo": {}, "length": 1}\n',
    "no table": b"[1, 2]\n",
    "no step": b'{"loss": 1}\n',
    "a step that is none": b'{"step": true, "loss": 1}\n',
    "divided by nothing": b'{"step": 1, "elbo": -1, "length": 0}\n',
    "no UTF-8": b'{"step": 1, "\xff": 1}\n',
    "zeros": bytes(100) + b"\n",
}


@pytest.mark.parametrize("name", LINES)
def test_metrics_of_a_strangers(name, tmp_path):
    good = b'{"step": 1, "loss": 1.0}\n'
    (tmp_path / "metrics.jsonl").write_bytes(good + LINES[name])
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2 is damaged"):
        list(read_metrics(tmp_path))


@pytest.mark.parametrize("name", ["nested", "beyond a float", "a text for a number"])
def test_commands_on_metrics_of_a_strangers(name, finished, zf, run_py):
    """A page is made without them, and says so; a run does not go on from them."""
    (finished / "metrics.jsonl").write_bytes(LINES[name] * 100)
    status, _, error = zf("report", finished)
    assert status == 0, error
    page = (finished / "report.html").read_text()
    assert "metrics.jsonl, line 1 is damaged" in page
    assert "<script" not in page
    (finished / "results.json").unlink()
    assert "metrics.jsonl, line 1 is damaged" in refused(run_py("--resume", finished))


def test_metrics_that_are_a_link_are_not_written_through(finished, run_py, tmp_path):
    """A resumed run cuts its metrics to their size at the checkpoint, whatever the file is."""
    (finished / "results.json").unlink()
    shutil.move(finished / "metrics.jsonl", tmp_path / "precious")
    (finished / "metrics.jsonl").symlink_to(tmp_path / "precious")
    content = (tmp_path / "precious").read_bytes() + b'{"step": 9}\n'
    (tmp_path / "precious").write_bytes(content)
    assert "metrics.jsonl is a link" in refused(run_py("--resume", finished))
    assert (tmp_path / "precious").read_bytes() == content


NESTED = {
    "config.toml": "a = " + "[" * 50_000,
    "observation.json": "[" * 50_000,
    "results.json": '{"test": ' + "[" * 50_000,
}


@pytest.mark.parametrize("name", NESTED)
def test_nested_files(name, finished, zf):
    (finished / name).write_text(NESTED[name])
    assert name in refused(zf("report", finished))


@pytest.mark.parametrize("name", ["timing.json", "latents.json"])
def test_nested_files_that_a_report_does_without(name, finished, zf):
    (finished / name).write_text("[" * 50_000)
    status, _, error = zf("report", finished)
    assert status == 0, error


FIGURES = {
    "a text": ("results.json", "kl", "x"),
    "a list": ("results.json", "num_steps", []),
    "nothing": ("results.json", "num_steps", None),
    "a table": ("results.json", "num_parameters", {}),
    "no count": ("results.json", "num_parameters", 1e308),
    "beyond a float": ("results.json", "elbo", 10**400),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_a_strangers(name, finished, zf, tmp_path):
    file, field, value = FIGURES[name]
    table = json.loads((finished / file).read_text())
    (table if field in table else table["test"])[field] = value
    (finished / file).write_text(json.dumps(table))
    before = contents(tmp_path)
    for command in (["report", finished], ["compare", finished, "--output", tmp_path / "comparison"]):
        assert "results.json" in refused(zf(*command))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("found", [{"kl_by_unit": [1e308]}, {"sequences_by_step": [None]}, {"kl_by_step": [10**400]}])
def test_latents_of_a_strangers_are_measured_anew(found, tmp_path):
    good = {"kl_by_step": [1.0], "sequences_by_step": [3], "kl_by_unit": [0.5], "num_sequences": 3}
    (tmp_path / "latents.json").write_text(json.dumps({"latents": good}))
    assert stored(tmp_path).counts == [3]
    (tmp_path / "latents.json").write_text(json.dumps({"latents": {**good, **found}}))
    assert stored(tmp_path) is None


ODD_FIELDS = {
    "a formula": {"step": r"$\frac$"},
    "markup": {"sequence": "<script>"},
    "no text": {"step": 3},
    "two lines": {"step": "frame\n"},
    "a large size": {"size": 10**400},
    "endless samples": {"sample_steps": 10**12},
    "true": {"rate": True},
    "beyond a float": {"mean": [10**400]},
    "infinite": {"std": [float("inf")]},
    "a large range": {"limits": [0, 10**400]},
    "a list for a law": {"law": [[]]},
    "an unknown field": {"__class__": "x"},
}


@pytest.mark.parametrize("name", ODD_FIELDS)
def test_an_observation_of_a_strangers(name, tmp_path):
    table = {"law": "gaussian", "size": 2, "step": "frame", "mean": [0.0], "std": [1.0], "limits": [-1, 1]}
    path = tmp_path / "observation.json"
    path.write_text(json.dumps(table))
    assert read_observation(path).size == 2
    path.write_text(json.dumps({**table, **ODD_FIELDS[name]}))
    with pytest.raises(InputError, match=r"observation\.json is damaged: [^\n]{1,200}$"):
        read_observation(path)


def test_a_shard_elsewhere_is_not_taken(tmp_path):
    shard = {"key": "0" * 24, "pieces": []}
    assert as_shard(shard).path(tmp_path).parent == tmp_path
    for key in ("../" + "0" * 24, "/etc/passwd", "", "0" * 23, "0" * 24 + "\n", "G" * 24):
        with pytest.raises(ValueError, match="without a key"):
            as_shard({**shard, "key": key})


def test_a_line_of_an_error_moves_no_cursor(zf, finished):
    observation = json.loads((finished / "observation.json").read_text())
    observation["\x1b]0;owned\x07"] = 1
    (finished / "observation.json").write_text(json.dumps(observation))
    error = refused(zf("evaluate", finished))
    assert error.removesuffix("\n").isprintable()
    assert "owned" in error


def test_every_row_of_the_page_has_its_tests():
    root = Path(__file__).parent
    known = {name for file in root.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)}
    rows = re.findall(r"^\| (?!input|-).*", (root.parent / "docs" / "untrusted.md").read_text(), re.M)
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.split("|")[-2])
        assert named, row
        assert set(named) <= known, row
