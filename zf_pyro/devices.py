"""The device that a command computes on."""

from __future__ import annotations

import torch

from zf_pyro.errors import InputError, first_line
from zf_pyro.processes import take_gpu


def choose_device(name: str) -> str:
    """The device that `name` stands for: "auto" is the GPU where there is one.

    Of several processes on a machine each takes a GPU of its own.

    Raises:
        InputError: no such device here, or none that this package runs on; or fewer GPUs than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda":
            take_gpu(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here ({first_line(error)}); take cpu") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} cannot be used; take cpu or cuda")
    return name
