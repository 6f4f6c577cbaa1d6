"""Several processes at the work of one: they share out the sequences, and put together what comes of them.

Each holds the whole model. Process r of W takes the places r, r + W, r + 2 W, .. of any row of sequences, so that rows
sorted by length are divided evenly; a row of fewer than W is not divided, and each process goes through all of it.
Alone, every function here gives back what it was given.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.parallel import DistributedDataParallel

from zf_pyro import ranks
from zf_pyro.console import Verbosity, speaking
from zf_pyro.errors import InputError, MachineError, check, first_line
from zf_pyro.signals import handled

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
def connected(device: str, store: dist.Store | None = None) -> Iterator[None]:
    """Inside, the processes that torchrun has started together are connected; alone nothing happens.

    Args:
        device: "cpu", or "cuda", of which each process on a machine has taken one of its own.
        store: where the processes find each other; None for where torchrun says.

    Raises:
        InputError: the environment is not torchrun's.
        MachineError: another process has ended, or cannot be reached.
    """
    if ranks.world_size() == 1:
        yield
        return
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    number, size = ranks.rank(), ranks.world_size()
    try:
        with handled(signal.SIG_DFL, signal.SIGINT, signal.SIGTERM):  # of which Python does not hear while it waits
            place = store or meeting_place()
            dist.init_process_group(backend, store=place, timeout=TIMEOUT, rank=number, world_size=size)
    except (KeyError, ValueError) as error:
        raise InputError(f"the processes cannot be connected ({first_line(error)}); start them by torchrun") from error
    except RuntimeError as error:
        raise MachineError(f"the processes cannot be connected: {first_line(error)}") from error
    try:
        with nullcontext() if ranks.is_first() else speaking(Verbosity.SILENT):
            yield
    except RuntimeError as error:
        if not lost_another(error):
            raise
        raise MachineError("another process of this run has ended, or cannot be reached any more") from error
    dist.destroy_process_group()


def meeting_place() -> dist.Store:
    """Where the processes of torchrun find each other.

    On one machine torchrun keeps it from one start of the processes to the next, and what those before have left there
    would mislead these.
    """
    kept = ranks.local_size() == ranks.world_size()
    attempt = ranks.number("TORCHELASTIC_RESTART_COUNT", 0) if kept else 0
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address, port = os.environ["MASTER_ADDR"], ranks.number("MASTER_PORT", 0)
    host = ranks.is_first() and not hosted
    return dist.PrefixStore(str(attempt), dist.TCPStore(address, port, ranks.world_size(), host, TIMEOUT))


def take_gpu(device: torch.device) -> None:
    """Make one GPU of this machine this process's own, where several were started together.

    Raises:
        InputError: there are fewer GPUs than processes, or the device names one of them.
    """
    if ranks.world_size() == 1:
        return
    count, wanted = torch.cuda.device_count(), ranks.local_size()
    check(device.index is None, f"several processes take a GPU each: --device cuda, not {device}")
    check(wanted <= count, f"{wanted} processes on this machine, and it has {count} GPUs; lower --nproc-per-node")
    torch.cuda.set_device(ranks.local_rank())


def lost_another(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "process group"))


def is_divided(total: int) -> bool:
    """Whether a row of N is shared out."""
    return 1 < world_size() <= total


def averaging(loss: nn.Module) -> nn.Module:
    """A loss as a module whose gradients are the means over all processes; alone the loss itself.

    Weights of 0 leave parts of a model out, and sequences of one step leave out others, so that the parameters without
    a gradient are looked for at every update.
    """
    return loss if world_size() == 1 else DistributedDataParallel(_OneUnused(loss), find_unused_parameters=True)


class _OneUnused(nn.Module):
    """A module and a parameter that it does not use: where the search finds none at first, PyTorch warns against it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.unused = nn.Parameter(torch.zeros((), device=next(module.parameters()).device))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return self.module(*args, **kwargs)


def share(values: np.ndarray) -> np.ndarray:
    """This process's part of a row, (n,) of (N,)."""
    return values[rank() :: world_size()] if is_divided(len(values)) else values


def gathered(values: Tensor, total: int) -> Tensor:
    """What all processes have made of their shares of a row, in its order, (..., N).

    Args:
        values: of this process's share, (..., n).
        total: N.
    """
    if not is_divided(total):
        return that_of_first(values)
    size = world_size()
    padded = pad(values, (0, -(-total // size) - values.shape[-1])).contiguous()
    parts = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(parts, padded)
    return torch.stack(parts, -1).flatten(-2)[..., :total]


def that_of_first(values: Tensor) -> Tensor:
    """The first process's numbers, of the same shape."""
    if world_size() == 1:
        return values
    told = values.clone()
    dist.broadcast(told, 0)
    return told


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
    if ranks.local_rank() > 0:
        any_of(False)
    result = work()
    if ranks.local_rank() == 0:
        any_of(False)
    return result
