"""Trainings in processes of their own, killed by SIGKILL at moments that are drawn."""

import multiprocessing
import os
import random
import signal
import sys

import numpy as np
import torch

import zf_pyro
from zf_pyro import experiment
from zf_pyro.checkpoints import read_checkpoint
from zf_pyro.cli import exit_with
from zf_pyro.run_commands import train

PACKAGE = os.path.dirname(zf_pyro.__file__)
EVALUATED = experiment.evaluation_file(3).replace("json", "npz")

context = multiprocessing.get_context("forkserver")
# What a training imports while it is at work is imported once for all processes.
context.set_forkserver_preload([__name__, "torch._dynamo", "matplotlib.backends.backend_agg"])


class Moments:
    """Counts the lines of the package's own code that are run, and kills the process at one of them."""

    def __init__(self, last):
        self.count, self.last = 0, last

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return self


def work(arguments, place, environment, last):
    """``run.py`` in a process of its own."""
    os.environ.update(environment)
    log = os.open(place / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    torch.set_num_threads(1)
    sys.argv = ["run.py", *map(str, arguments), "--no-report"]
    moments = Moments(last)
    sys.settrace(moments)
    try:
        exit_with(train)
    finally:
        sys.settrace(None)
        (place / "moments.txt").write_text(str(moments.count))


class Runs:
    """Trainings with the same options, one never killed, and others that are killed and gone on with.

    Args:
        place: a folder for all of them.
        options: of ``run.py``.
    """

    def __init__(self, place, options):
        self.place, self.options = place, options
        self.whole = place / "whole"
        assert self.process(self.whole).exitcode == 0, (place / "log.txt").read_text()
        self.moments = int((place / "moments.txt").read_text())

    def process(self, folder, last=0, seconds=None):
        """Begin a run or go on with it, until moment `last` of its code or for so many seconds, or to its end."""
        arguments = ["--resume", folder] if (folder / "config.toml").is_file() else [*self.options, "--output", folder]
        environment = {"ZF_PYRO_CACHE": os.environ["ZF_PYRO_CACHE"]}
        process = context.Process(target=work, args=(arguments, self.place, environment, last))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        return process

    def killed(self, seed, times, draw):
        """Kill runs at so many moments in all, go on with each to its end, and compare it with the whole one.

        `draw` gives, of a random generator, the moment as `process` takes it.
        """
        source, folder, left = random.Random(seed), self.place / "killed", times
        while left or folder.exists():
            process = self.process(folder, **(draw(source) if left else {}))
            assert process.exitcode in (0, -signal.SIGKILL), (self.place / "log.txt").read_text()
            left -= process.exitcode != 0
            if (folder / "results.json").is_file():
                require_equal(folder, self.whole)
                folder.rename(self.place / f"finished-{len(list(self.place.glob('finished-*')))}")


def require_equal(one, other):
    """Two runs ended with the same numbers, to the last bit."""
    for name in ("metrics.jsonl", "results.json", "samples.npz", "config.toml"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    require_same(*(read_checkpoint(folder)["trainer"] for folder in (one, other)))
    with np.load(one / EVALUATED) as left, np.load(other / EVALUATED) as right:
        assert left.files == right.files
        assert all(np.array_equal(left[name], right[name], equal_nan=True) for name in left.files)


def require_same(one, other):
    """Two states are equal in all tensors, numbers and names."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            require_same(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            require_same(left, right)
    else:
        assert one == other
