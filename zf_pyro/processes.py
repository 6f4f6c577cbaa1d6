"""Several processes at the work of one: they share out the sequences, and put together what comes of them.

Each holds the whole model. Process r of W takes the places r, r + W, r + 2 W, .. of any row of sequences, so that rows
sorted by length are divided evenly. Alone, every function here gives back what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad

from zf_pyro import ranks
from zf_pyro.errors import InputError, MachineError, check, first_line

TIMEOUT = timedelta(hours=1)
"""How long processes wait for each other: the first on a machine may have data to fetch and to read."""

Result = TypeVar("Result")


def world_size() -> int:
    """How many processes are connected."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this one, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


@contextmanager
def connected(device: str, meeting: str | None = None) -> Iterator[None]:
    """Inside, the processes that torchrun has started together are connected; alone nothing happens.

    Args:
        device: "cpu", or "cuda", of which each process on a machine takes one of its own.
        meeting: where the processes meet, a URL of `torch.distributed`; None for where torchrun says.

    Raises:
        InputError: there are fewer GPUs than processes, a GPU is named by its number, or the environment is not
            torchrun's.
        MachineError: another process has ended, or cannot be reached.
    """
    if ranks.world_size() == 1:
        yield
        return
    if torch.device(device).type == "cuda":
        take_gpu(device)
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        numbers = {} if meeting is None else {"rank": ranks.rank(), "world_size": ranks.world_size()}
        dist.init_process_group(backend, meeting, timeout=TIMEOUT, **numbers)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the processes cannot be connected ({first_line(error)}); start them by torchrun") from error
    try:
        yield
    except RuntimeError as error:
        if not lost_another(error):
            raise
        raise MachineError(f"another process of this run has ended ({first_line(error)})") from error
    dist.destroy_process_group()


def take_gpu(device: str) -> None:
    """Make one GPU of this machine this process's own.

    Raises:
        InputError: there are fewer GPUs than processes, or the device names one of them.
    """
    count, wanted = torch.cuda.device_count(), ranks.local_size()
    check(torch.device(device).index is None, f"several processes take a GPU each: --device cuda, not {device}")
    check(wanted <= count, f"{wanted} processes on this machine, and it has {count} GPUs; lower --nproc-per-node")
    torch.cuda.set_device(ranks.local_rank())


def lost_another(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "process group"))


def share(values: np.ndarray) -> np.ndarray:
    """This process's part of a row, (n,) of (N,); where there are too few, the first of all, which is then not used."""
    own = values[rank() :: world_size()]
    return own if len(own) else values[:1]


def share_size(total: int) -> int:
    """How many of a row of N are this process's own."""
    return len(range(rank(), total, world_size()))


def gathered(values: Tensor, total: int) -> Tensor:
    """What all processes have made of their shares of a row, in its order, (..., N).

    Args:
        values: of this process's share, (..., n).
        total: N.
    """
    size, own = world_size(), share_size(total)
    if size == 1:
        return values
    padded = pad(values[..., :own], (0, -(-total // size) - own)).contiguous()
    parts = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(parts, padded)
    return torch.stack(parts, -1).flatten(-2)[..., :total]


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, of the same shape."""
    if world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def any_of(holds: bool) -> bool:
    """Whether it holds in any process; all of them wait for each other here."""
    if world_size() == 1:
        return holds
    return bool(summed(torch.tensor(int(holds))))


def from_first(content: bytes) -> bytes:
    """What the first process has here, in every process."""
    if world_size() == 1:
        return content
    size = torch.tensor(len(content))
    dist.broadcast(size, 0)
    sent = torch.zeros(int(size), dtype=torch.uint8)
    if is_first() and content:
        sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    dist.broadcast(sent, 0)
    return sent.numpy().tobytes()


def require_same(what: str, content: str) -> None:
    """Refuse what is not the same in every process.

    Raises:
        InputError: it is not.
    """
    if any_of(from_first(content.encode()) != content.encode()):
        raise InputError(f"{what} of the processes are not the same; start all by the same command on the same data")


def one_after_the_first(work: Callable[[], Result]) -> Result:
    """Do some work once on every machine, and then in its other processes, which find what the first has left."""
    if world_size() > 1 and ranks.local_rank() > 0:
        any_of(False)
    result = work()
    if world_size() > 1 and ranks.local_rank() == 0:
        any_of(False)
    return result
