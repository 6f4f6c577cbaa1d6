"""Work that several processes do together, each a fork of a server that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from zf_pyro.processes import connected

WAIT = 240
"""Seconds after which processes that still run have come to a standstill."""


def together(size: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    """What `work` returns in each of `size` connected processes, in their order."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.several", "tests.test_processes"])
    with tempfile.TemporaryDirectory() as folder:
        processes = [context.Process(target=take_part, args=(rank, size, folder, work, args)) for rank in range(size)]
        for each in processes:
            each.start()
        for each in processes:
            each.join(WAIT)
        alive = [each for each in processes if each.is_alive()]
        for each in alive:
            each.kill()
        assert not alive, "processes wait for each other"
        found = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(size)]
    for error, _ in found:
        assert not error, error
    return [result for _, result in found]


def take_part(rank: int, size: int, folder: str, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """One of the processes: as torchrun would start it."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    error, result = "", None
    try:
        with connected("cpu", torch.distributed.FileStore(f"{folder}/meeting", size)):
            result = work(*args)
    except BaseException:
        error = traceback.format_exc()
    torch.save((error, result), Path(folder) / f"{rank}.pt")
