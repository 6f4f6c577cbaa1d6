"""Conditions under which the two programs run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule
from pyro.params import param_with_module_name
from torch import nn

from zf_pyro.precision import set_matmul_precision


def prepare_torch() -> None:
    """Process-wide settings of the commands.

    Gradients that vanish are denormal numbers, and those are slow. Products are exact to float32, whatever the
    environment says, except where training asks for less.
    """
    torch.set_flush_denormal(True)
    set_matmul_precision("highest")
    pyro.enable_validation(False)


def local_parameters(*, keep: bool = False) -> AbstractContextManager[Any]:
    """Inside, programs neither read nor fill Pyro's global parameter store: each has its own modules' parameters.

    Unlike Pyro's setting ``module_local_params`` this serves modules made before the setting was changed.

    Args:
        keep: let them read what the store holds; what they add is still forgotten.
    """
    store = pyro.get_param_store()
    return store.scope(store.get_state() if keep else None)


def check_store(program: PyroModule) -> None:
    """Refuse to train a program whose name stands for another one's parameters.

    A program computes with its own parameters in any case, but `SVI` would go on training those of the first that was
    called by the name. In evaluation mode or without gradients there is nothing to refuse.

    Raises:
        ValueError: Pyro's parameter store holds a parameter of this name that is not the program's own.
    """
    if not (program.training and torch.is_grad_enabled()):
        return
    store = pyro.get_param_store()
    prefix = program._pyro_name
    for part, module in program.named_children():
        for name, parameter in module.named_parameters():
            full = param_with_module_name(f"{prefix}.{part}", name)
            if full in store and store[full] is not parameter:
                raise ValueError(
                    f"another program named {prefix!r} has used Pyro's parameter store: give this one another name, "
                    "or clear the store by pyro.clear_param_store()"
                )


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Random draws from `seed` alone, on the CPU and on `device`; the random state is restored afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def evaluating(*programs: Any) -> Iterator[None]:
    """No gradients, no dropout, `local_parameters`; the modules' modes are restored afterwards.

    Where one of the programs is a plain function, its parameters are in Pyro's store, which is then read.
    """
    modules = [program for program in programs if isinstance(program, nn.Module)]
    parts = [part for module in modules for part in module.modules()]
    modes = [part.training for part in parts]
    try:
        for module in modules:
            module.eval()
        with torch.no_grad(), local_parameters(keep=len(modules) < len(programs)):
            yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
