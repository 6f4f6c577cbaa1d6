"""The precision of training: what may be in bfloat16, and how exact the products of float32 numbers are.

In bfloat16 are the factors of matrix products, and what these give before it goes on. All else is float32: parameters,
states, the parameters of laws, log-probabilities, divergences, sums. So autocast chooses the products, and `Widened`
makes their results float32 again, in one place for every part, those of a user's own included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Precision = Literal["float32", "bfloat16"]
MatmulPrecision = Literal["highest", "high", "medium"]

CONVERSIONS = frozenset({Tensor.to, Tensor.type, Tensor.bfloat16})
"""Functions that make a tensor bfloat16 because they are told to."""

RECURRENT = frozenset({torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu})
"""PyTorch's recurrent networks over whole sequences."""

_widening: ContextVar[bool] = ContextVar("widening", default=False)


class Widened(TorchFunctionMode):
    """Inside, what autocast has made bfloat16 comes out as float32.

    What its maker wanted in bfloat16, by a conversion or by arguments of that type, stays so. On a CPU PyTorch's own
    recurrent networks are left out of autocast, since not every processor has their kernel in bfloat16.
    """

    def __torch_function__(
        self, func: Callable, types: Iterable[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """What `func` returns, widened."""
        if func in RECURRENT and args[0].device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return func(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        several = isinstance(result, tuple)
        if not (any(map(is_low, result)) if several else is_low(result)):
            return result
        if func in CONVERSIONS or any(map(is_low, args)):
            return result
        return tuple(each.float() if is_low(each) else each for each in result) if several else result.float()


def is_low(value: Any) -> bool:
    """Whether this is a tensor in bfloat16."""
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def products_in(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Inside, matrix products on a device are taken in a precision. Gradients are taken outside.

    Weights that are used at every step are converted at every step, so that their gradients add up in float32:
    autocast's cache would add them up in bfloat16, which 256 equal numbers exhaust.
    """
    return low_products(device) if precision == "bfloat16" else nullcontext()


@contextmanager
def low_products(device: torch.device) -> Iterator[None]:
    """Inside, matrix products on a device are taken in bfloat16, and their results are float32."""
    token = _widening.set(True)
    try:
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False), Widened():
            yield
    finally:
        _widening.reset(token)


def recomputation() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """What `torch.utils.checkpoint` is to enter forward, and where it computes once more; it restores autocast itself.

    To be called as its ``context_fn``.
    """
    return nullcontext(), Widened() if _widening.get() else nullcontext()


def set_matmul_precision(how: MatmulPrecision) -> None:
    """How exact the products of float32 matrices are, in this process: `torch.set_float32_matmul_precision`.

    PyTorch's recurrent networks on a GPU, which have a switch of their own that is on, follow.
    """
    torch.set_float32_matmul_precision(how)
    torch.backends.cudnn.allow_tf32 = how != "highest"


@contextmanager
def matmul_precision(how: MatmulPrecision) -> Iterator[None]:
    """Inside, `set_matmul_precision`; what was before is restored."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    set_matmul_precision(how)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
