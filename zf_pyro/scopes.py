"""Conditions under which the two programs run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pyro
import torch
from torch import nn


def local_parameters() -> AbstractContextManager[Any]:
    """Inside, programs use the parameters of their own modules, whatever Pyro's global parameter store holds.

    Under the global store a second model of the same name would run with the parameters of the first. Unlike Pyro's
    setting ``module_local_params`` this serves modules made before the setting was changed.
    """
    return pyro.get_param_store().scope()


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """No gradients, no dropout, `local_parameters`; the modules' modes are restored afterwards."""
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.eval()
        with torch.no_grad(), local_parameters():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
