"""The files of a run."""

import json
import math

import pytest

from zf_pyro import InputError, runs
from zf_pyro.files import write_atomically, write_text
from zf_pyro.metrics import Metrics, read_metrics, to_json


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


def test_loading_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match="is no run"):
        runs.load(tmp_path)
