"""Events for TensorBoard: what it reads back, when a run goes on, and what goes wrong."""

import math
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from tests.test_faults import goes_on, options
from tests.toy_runs import SMALL
from tests.updates import before_update
from zf_pyro import runs
from zf_pyro.checkpoints import read_checkpoint
from zf_pyro.config import TrainingConfig
from zf_pyro.errors import InputError
from zf_pyro.events import EVENTS, FOLDER, Events, library, scalars
from zf_pyro.metrics import METRICS, Metrics, read_metrics

__all__ = ["goes_on", "options"]

needs_tensorboard = pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs the extra tensorboard")


def points(folder):
    """What TensorBoard reads of a run: (step, curve) and the value, none of which stands twice."""
    loader = library("tensorboard.backend.event_processing.event_file_loader").LegacyEventFileLoader
    (path,) = (folder / FOLDER).iterdir()
    assert path.match(EVENTS)
    found = {}
    for event in loader(str(path)).Load():
        for value in event.summary.value:
            assert (event.step, value.tag) not in found
            found[event.step, value.tag] = value.simple_value
    return found


def same(left, right):
    return left == right or (math.isnan(left) and math.isnan(right))


def require_metrics(folder):
    """The events are those of metrics.jsonl, in the single precision of events."""
    expected = {
        (record["step"], curve): float(np.float32(value))
        for record in read_metrics(folder)
        for curve, value in scalars(record).items()
    }
    found = points(folder)
    assert found.keys() == expected.keys()
    assert all(same(found[place], expected[place]) for place in found)


def test_curves_are_named_and_divided():
    assert scalars({"step": 3, "epoch": 0, "elbo": -20.0, "kl": 5.0, "loss": None, "length": 10.0}) == {
        "train/epoch": 0,
        "train/elbo": -20.0,
        "train/elbo_per_step": -2.0,
        "train/kl": 5.0,
        "train/kl_per_step": 0.5,
        "train/loss": pytest.approx(math.nan, nan_ok=True),
        "train/length": 10.0,
    }
    record = {"step": 4, "valid_iw_bound": -8.0, "valid_length": 4.0, "valid_sequences": 6, "valid_particles": 2}
    assert scalars(record) == {"valid/iw_bound": -8.0, "valid/iw_bound_per_step": -2.0, "valid/length": 4.0}


@needs_tensorboard
def test_what_is_not_finite_is_nan(tmp_path):
    for value in (math.inf, math.nan):
        metrics = Metrics(tmp_path)
        metrics.write({"step": 1, "elbo": value, "length": 2.0})
        metrics.close()
        Events(tmp_path).close()
        found = points(tmp_path)
        assert found.keys() == {(1, "train/elbo"), (1, "train/elbo_per_step"), (1, "train/length")}
        assert math.isnan(found[1, "train/elbo"])


@needs_tensorboard
def test_a_run_logs_what_its_metrics_hold_and_a_resumed_one_nothing_twice(run_py, goes_on, options, tmp_path):
    def stop():
        raise KeyboardInterrupt  # at once, as a kill: two updates are logged beyond the checkpoint

    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        before_update(patch, 6, stop)
        assert run_py(*options, "--output", folder, "--log", "tensorboard")[0] == 130
    assert read_checkpoint(folder)["trainer"]["counters"][0] == 4
    assert max(step for step, _ in points(folder)) == 6
    goes_on(folder)
    require_metrics(folder)
    assert {step for step, curve in points(folder) if curve == "valid/elbo"} == {4, 8}
    assert {step for step, curve in points(folder) if curve == "train/loss"} == {*range(1, 9)}


@needs_tensorboard
def test_logging_may_begin_with_a_resumed_run(run_py, goes_on, options, tmp_path):
    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zf_pyro.experiment.evaluate", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run_py(*options, "--output", folder)[0] == 130
    assert not (folder / FOLDER).exists()
    config = folder / runs.CONFIG
    assert 'log = "jsonl"' in config.read_text()
    config.write_text(config.read_text().replace('log = "jsonl"', 'log = "tensorboard"'))
    goes_on(folder)
    require_metrics(folder)


@needs_tensorboard
def test_the_folder_belongs_to_the_run(tmp_path):
    Metrics(tmp_path).close()
    Events(tmp_path).close()
    assert any((tmp_path / FOLDER).match(pattern) for pattern in runs.PATTERNS)
    mine = tmp_path / FOLDER / "notes.txt"
    mine.write_text("mine")
    runs.clear(tmp_path)
    assert [*tmp_path.rglob("*")] == [mine.parent, mine]
    mine.unlink()
    runs.clear(tmp_path)
    assert not [*tmp_path.iterdir()]


@needs_tensorboard
def test_a_run_that_is_overwritten_loses_its_events(run_py, options, tmp_path):
    folder = tmp_path / "run"
    assert run_py(*options, "--output", folder, "--log", "tensorboard")[0] == 0
    assert points(folder)
    assert run_py(*options, "--output", folder, "--force")[0] == 0
    assert not (folder / FOLDER).exists()


@needs_tensorboard
def test_events_that_are_a_link_are_not_written_through(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    (other / "events.out.tfevents.1").touch()
    Metrics(run).close()
    (run / FOLDER).symlink_to(other)
    with pytest.raises(InputError, match="is a link"):
        Events(run)
    runs.clear(run)
    assert not [*run.iterdir()]
    assert [path.name for path in other.iterdir()] == ["events.out.tfevents.1"]


@needs_tensorboard
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_disk_that_fills_while_events_are_written(run_py, goes_on, options, tmp_path):
    opened = []

    class Full(Events):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            opened.append(self)

    def fill():
        os.dup2(os.open("/dev/full", os.O_WRONLY), opened[0].file.fileno())

    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zf_pyro.fitting.Events", Full)
        before_update(patch, 5, fill)
        status, _, error = run_py(*options, "--output", folder, "--log", "tensorboard")
    assert status == 1
    assert error.splitlines()[-1] == "error: cannot write the events for TensorBoard: No space left on device"
    assert "Traceback" not in error
    assert read_checkpoint(folder)["trainer"]["counters"][0] == 4
    goes_on(folder)
    require_metrics(folder)


def test_a_missing_package_is_told_before_anything_slow(run_py, zf, finished, reviews, tmp_path, monkeypatch):
    for name in [each for each in sys.modules if each.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for opener in ("run_commands.open_corpus", "experiment.matching_corpus", "sweep.open_corpus"):
        monkeypatch.setattr(f"zf_pyro.{opener}", lambda *_, **__: pytest.fail("the data was opened"))
    (finished / runs.RESULTS).unlink()
    config = finished / runs.CONFIG
    config.write_text(config.read_text().replace('log = "jsonl"', 'log = "tensorboard"'))
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(f'dataset = "imdb"\ndata = "{reviews}"\nlog = "tensorboard"\n')
    before = (finished / METRICS).read_bytes()
    for status, _, error in (
        run_py("--dataset", "imdb", "--data", reviews, "--log", "tensorboard", *SMALL),
        run_py("--resume", finished),
        zf("compare", "--sweep", sweep, "--output", tmp_path / "sweep"),
    ):
        assert (status, error.count("\n")) == (2, 1), error
        assert error.startswith("error: log = tensorboard needs TensorBoard's package")
        assert 'pip install -e ".[tensorboard]"' in error
    assert (finished / METRICS).read_bytes() == before
    assert not (tmp_path / "sweep").exists()


def test_nothing_is_logged_or_imported_unless_it_is_asked_for(finished):
    assert TrainingConfig().log == "jsonl"
    assert not (finished / FOLDER).exists()
    code = "import sys, zf_pyro.commands, zf_pyro.fitting; print('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"
