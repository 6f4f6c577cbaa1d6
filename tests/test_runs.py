"""The files of a run."""

import io
import json
import math
import os
import random
import stat

import numpy as np
import pytest
import torch

from zf_pyro import InputError, files, runs
from zf_pyro.files import write_atomically, write_text
from zf_pyro.metrics import Metrics, read_metrics, to_json
from zf_pyro.random_states import random_states, set_random_states


def test_numbers_that_are_not_finite_are_null_in_json():
    text = to_json({"a": math.nan, "b": {"c": math.inf, "d": 1.5}, "e": 3, "f": "x"})
    assert json.loads(text) == {"a": None, "b": {"c": None, "d": 1.5}, "e": 3, "f": "x"}


def test_metrics_beyond_the_size_of_a_checkpoint_are_dropped(tmp_path):
    metrics = Metrics(tmp_path)
    metrics.write({"step": 1, "loss": 2.0})
    size = metrics.size()
    metrics.write({"step": 2, "loss": math.nan})
    metrics.close()
    assert [line["loss"] for line in read_metrics(tmp_path)] == [2.0, None]
    metrics = Metrics(tmp_path, size)
    metrics.write({"step": 2, "loss": 1.0})
    metrics.close()
    assert list(read_metrics(tmp_path)) == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")

    def fail(file):
        file.write(b"half")
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        write_atomically(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_a_file_is_flushed_before_it_is_moved_and_its_folder_after(tmp_path, monkeypatch):
    order = []

    def fsync(descriptor, real=os.fsync):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        order.append(("folder" if is_folder else "file", sorted(path.name[:3] for path in tmp_path.iterdir())))
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_text(tmp_path / "new", "1")
    write_atomically(tmp_path / "new", lambda file: file.write(b"2"), former=tmp_path / "old")
    assert order == [
        *(("file", ["new"]), ("folder", ["new"])),
        *(("file", ["new", "new"]), ("folder", ["new", "old"])),
    ]
    assert [(tmp_path / name).read_text() for name in ("new", "old")] == ["2", "1"]


def test_metrics_are_on_the_disk_before_a_checkpoint_counts_on_them(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("zf_pyro.metrics.os.fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_size))
    metrics = Metrics(tmp_path)
    metrics.write({"step": 1})
    assert flushed == []
    assert flushed == [metrics.size()] == [(tmp_path / "metrics.jsonl").stat().st_size]
    metrics.close()


def test_random_states_are_of_all_generators_and_can_be_saved():
    def draw():
        return torch.rand(3).tolist(), np.random.normal(size=3).tolist(), random.random(), random.gauss()  # noqa: NPY002

    draw()  # of a normal pair NumPy and Python now keep the second
    file = io.BytesIO()
    torch.save(random_states(torch.device("cpu")), file)
    expected = draw()
    assert draw() != expected
    file.seek(0)
    set_random_states(torch.load(file, weights_only=True), torch.device("cpu"))
    assert draw() == expected


def test_loading_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match="is no run"):
        runs.load(tmp_path)
