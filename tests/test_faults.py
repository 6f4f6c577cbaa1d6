"""What goes wrong with the machine while a run is at work: one line, nothing lost, and the run can be gone on with."""

import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
import torch

from tests.test_wrong_input import edit_checkpoint, replace_in
from tests.toy_runs import SMALL
from tests.updates import before_update
from zf_pyro import experiment, files, metrics
from zf_pyro.checkpoints import CHECKPOINT, DAMAGED, PREVIOUS, read_checkpoint
from zf_pyro.errors import MachineError
from zf_pyro.training import Trainer

SAME = ("results.json", "metrics.jsonl", "samples.txt", "vocabulary.txt", "observation.json")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def options(reviews):
    """Those of the finished run."""
    return ["--dataset", "imdb", "--data", reviews, "--max-steps", 8, *SMALL]


@pytest.fixture
def goes_on(run_py, finished):
    """Goes on with a run; it must end as one that nothing happened to."""

    def check(folder):
        status, _, error = run_py("--resume", folder)
        assert status == 0, error
        for name in SAME:
            assert (folder / name).read_bytes() == (finished / name).read_bytes(), name
        assert not list(folder.glob("*.tmp"))
        return error

    return check


@contextmanager
def tmpfs(folder):
    """A small disk at a folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def full(folder):
    """Inside, the disk of a folder has a page left."""
    filler = folder.parent / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(filler, filler.stat().st_size - 4096)
        yield
    finally:
        filler.unlink()


@contextmanager
def no_longer_files(folder):
    """Inside, no file can be as long as the newest checkpoint."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / CHECKPOINT).stat().st_size - 1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_flushing(folder):
    """Inside, the disk turns out to be full when a checkpoint is flushed to it."""

    def fsync(descriptor, real=os.fsync):
        if CHECKPOINT in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "fsync", fsync)
        yield


FULL = {"full": full, "longest": no_longer_files, "flushed": no_flushing}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs tmpfs and /proc")
@pytest.mark.parametrize("name", FULL)
def test_a_disk_that_fills_while_a_checkpoint_is_written(run_py, goes_on, options, tmp_path, name):
    def write_checkpoint(folder, state, real=experiment.checkpoints.write_checkpoint):
        if state["trainer"]["counters"][0] < 8:
            return real(folder, state)
        with FULL[name](folder):
            real(folder, state)

    with tmpfs(tmp_path / "disk") as disk:
        folder = disk / "run"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zf_pyro.fitting.write_checkpoint", write_checkpoint)
            status, _, error = run_py(*options, "--output", folder)
        assert status == 1
        last = error.splitlines()[-1]
        assert last.startswith(f"error: cannot save {folder / CHECKPOINT}: ")
        assert last.endswith(("No space left on device", "File too large"))
        assert "Traceback" not in error
        assert not list(folder.glob("*.tmp"))
        assert read_checkpoint(folder)["trainer"]["counters"][0] == 4
        goes_on(folder)


def test_the_state_is_saved_after_some_time_without_a_validation(run_py, goes_on, options, tmp_path):
    """Here after every update: a kill in the sixth finds the fifth, one after the validation at the fourth."""

    def strike():
        raise MachineError("struck by lightning")

    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        before_update(patch, 5, strike)
        assert run_py(*options, "--set", "save_minutes=1e-9", "--output", folder)[0] == 1
    assert read_checkpoint(folder)["trainer"]["counters"][0] == 5
    goes_on(folder)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("step", [3, 4])
def test_a_disk_that_fills_while_metrics_are_written(run_py, goes_on, options, tmp_path, step):
    opened = []

    class Full(metrics.Metrics):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            opened.append(self.file)

    def update(trainer, places, batch, real=Trainer.update):
        record = real(trainer, places, batch)
        if record["step"] == step:
            os.dup2(os.open("/dev/full", os.O_WRONLY), opened[0].fileno())
            return {**record, "long": "x" * 9000}  # longer than what is written together
        return record

    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zf_pyro.fitting.Metrics", Full)
        patch.setattr(Trainer, "update", update)
        status, _, error = run_py(*options, "--output", folder)
    assert status == 1
    assert error.splitlines()[-1] == "error: cannot write the metrics: No space left on device"
    assert "Traceback" not in error
    assert read_checkpoint(folder)["trainer"]["counters"][0] == 0
    goes_on(folder)


@contextmanager
def read_only(folder):
    """Inside, nothing can be written into a folder, by root either."""
    if os.geteuid():
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    commands = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,bind,ro", folder]]
    if any(subprocess.run(each, check=False, capture_output=True).returncode for each in commands):
        pytest.skip("this user may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_folder_that_cannot_be_written(run_py, goes_on, options, finished, tmp_path):
    (finished / "results.json").unlink()
    before = contents(finished)
    with read_only(finished):
        for arguments, told in (
            (["--resume", finished], f"cannot write into {finished}"),
            ([*options, "--output", finished, "--force"], f"cannot write into {finished}"),
            ([*options, "--output", finished / "new"], "cannot make the folder"),
        ):
            status, _, error = run_py(*arguments)
            assert (status, error.count("\n")) == (2, 1)
            assert error.startswith(f"error: {told}")
    assert contents(finished) == before


def shorten(path):
    path.write_bytes(path.read_bytes()[:1000])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    """A bit in the midst of a parameter, which leaves a file that PyTorch reads."""
    content = bytearray(path.read_bytes())
    place = content.index(read_checkpoint(path.parent)["trainer"]["model"]["prior.network.0.weight"].numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)


@pytest.mark.parametrize("damage", [shorten, empty, flip], ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(run_py, zf, finished, tmp_path, damage):
    expected = contents(finished)
    (finished / "results.json").unlink()
    damage(finished / CHECKPOINT)
    damaged = (finished / CHECKPOINT).read_bytes()
    assert zf("evaluate", finished)[0] == 2  # the best parameters before may be others
    status, _, error = run_py("--resume", finished)
    assert status == 0, error
    (warning,) = (line for line in error.splitlines() if line.startswith("warning: "))
    assert f"{finished / CHECKPOINT} is damaged" in warning
    assert warning.endswith(f"; going on from {PREVIOUS}, the one before it")
    after = contents(finished)
    assert after.pop(DAMAGED) == damaged
    assert {name: after[name] for name in SAME} == {name: expected[name] for name in SAME}


def test_where_both_are_damaged_the_newest_is_told_and_both_are_left(run_py, finished):
    (finished / "results.json").unlink()
    for name in (CHECKPOINT, PREVIOUS):
        shorten(finished / name)
    before = contents(finished)
    status, _, error = run_py("--resume", finished)
    assert (status, error.count("\n")) == (2, 1)
    assert f"{finished / CHECKPOINT} is damaged" in error
    assert contents(finished) == before


def test_a_kill_between_the_moves_of_two_files(finished, goes_on):
    """The newest has become the one before, and nothing is in its place yet."""
    (finished / "results.json").unlink()
    (finished / CHECKPOINT).replace(finished / PREVIOUS)
    (finished / f"{CHECKPOINT}.0123.tmp").write_bytes(b"half")
    assert "warning" not in goes_on(finished)


def test_a_kill_before_the_first_checkpoint(run_py, options, goes_on, finished, tmp_path):
    folder = tmp_path / "stopped"
    folder.mkdir()
    (folder / "run.lock").touch()
    (folder / "config.toml.0123.tmp").write_text("half")
    assert run_py(*options, "--output", folder)[0] == 0
    for path in folder.iterdir():
        if path.name != "config.toml":
            path.unlink()
    (folder / "metrics.jsonl").touch()
    goes_on(folder)


def test_settings_that_were_changed_are_listed(run_py, finished):
    (finished / "results.json").unlink()
    replace_in(finished / "config.toml", "batch_size = 32", "batch_size = 16")
    replace_in(finished / "config.toml", "alpha = 0.005", "alpha = 0.5")
    before = contents(finished)
    status, _, error = run_py("--resume", finished)
    assert (status, error.count("\n")) == (2, 1)
    assert "alpha = 0.005 (now 0.5), batch_size = 32 (now 16)" in error
    assert contents(finished) == before


def test_settings_without_a_say_in_an_update_may_change(run_py, finished):
    (finished / "results.json").unlink()
    for old, new in (("max_steps = 8", "max_steps = 10"), ("num_particles = 5", "num_particles = 3")):
        replace_in(finished / "config.toml", old, new)
    status, printed, error = run_py("--resume", finished)
    assert status == 0, error
    assert "3 particles" in printed
    assert read_checkpoint(finished)["trainer"]["counters"][0] == 10


def test_a_checkpoint_of_another_version(run_py, zf, finished):
    edit_checkpoint(finished, lambda state: [state.pop("format"), state.pop("config")])
    assert zf("evaluate", finished)[0] == 0
    (finished / "results.json").unlink()
    status, _, error = run_py("--resume", finished)
    assert (status, error.count("\n")) == (2, 1)
    assert "of another version: it has no 'format'" in error
    edit_checkpoint(finished, lambda state: state.update(format=99))
    assert "it has format 99, and this version reads 2" in run_py("--resume", finished)[2]


def test_other_versions_of_packages_are_told(finished, goes_on):
    (finished / "results.json").unlink()
    replace_in(finished / "config.toml", f'torch = "{torch.__version__}"', 'torch = "1.0"')
    assert f"warning: begun with torch 1.0 (now {torch.__version__})" in goes_on(finished)


def out_of_memory(*arguments):
    raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")


def test_memory_that_is_full_while_training(run_py, options, goes_on, tmp_path):
    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        before_update(patch, 5, out_of_memory)
        status, _, error = run_py(*options, "--output", folder)
    assert status == 1
    hint = (
        f"go on by --resume {folder} where more is free, or start again with a smaller batch_size (32), "
        "hidden_size (8) or a larger checkpoint_segments (1)"
    )
    assert error.splitlines()[-1] == f"error: the memory of cpu is full; {hint}"
    assert "Traceback" not in error
    goes_on(folder)


def test_memory_that_is_full_while_testing(run_py, zf, options, goes_on, tmp_path, monkeypatch):
    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "evaluate", out_of_memory)
        assert run_py(*options, "--output", folder)[0] == 1
    goes_on(folder)
    monkeypatch.setattr(experiment, "evaluate", out_of_memory)
    status, _, error = zf("evaluate", folder)
    assert (status, error.count("\n")) == (1, 1)
    assert error.endswith("is full; free some of it, or take --device cpu\n")


HOLD = """
import fcntl, sys
with open(sys.argv[1], "ab") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused(run_py, options, finished):
    (finished / "results.json").unlink()
    before = contents(finished)
    command = [sys.executable, "-c", HOLD, finished / "run.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        for arguments in (["--resume", finished], [*options, "--output", finished, "--force"]):
            status, _, error = run_py(*arguments)
            assert (status, error.count("\n")) == (2, 1)
            assert error.startswith(f"error: {finished} is in use: another process trains this run")
        assert contents(finished) == before
        other.kill()
    assert run_py("--resume", finished)[0] == 0
