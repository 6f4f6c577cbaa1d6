"""Linear maps inside a loop over time, whose weights get their gradient in one product after the loop.

Automatic differentiation would add up dW = sum_t g_t x_t^T step by step: T products of few rows, each followed by an
addition over the whole of W. Here every step leaves its g_t, and the sum is one product over the rows of all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from zf_pyro.segments import segment_count

Map = Callable[[Tensor], Tensor]

LARGE = 2**17
"""Weights below this size are left to automatic differentiation, which is as fast for them (docs/performance.md)."""


def add_product(base: Tensor, x: Tensor, transposed: Tensor) -> Tensor:
    """The sum base + W x, (..., B, outputs).

    Args:
        base: (..., B, outputs), or a bias (outputs,).
        x: (..., B, inputs).
        transposed: W^T, (inputs, outputs): inside a loop, W is transposed once.
    """
    fused = x.dim() == 2 >= base.dim() and x.dtype == base.dtype
    return torch.addmm(base, x, transposed) if fused else base + x @ transposed


def loop_linear(base: Tensor, weight: Tensor) -> Map:
    """The map x_t -> base_t + W x_t, to be called for t = 1 .. T in this order, (..., B, inputs) to (..., B, outputs).

    The gradient is that of the formula, and cannot be differentiated once more. What it needs is kept as long as the
    graph, that is, until the loss is let go. Small weights, and all in segments of time, are left to automatic
    differentiation.

    Under autocast the products are taken in its type. What is added to them and the gradients of the bases stay as they
    are, and the weights' gradient is summed in float32 within its one product, where automatic differentiation would
    round the sum at every step.

    Args:
        base: (..., T, B, outputs), or a bias (outputs,) for every step.
        weight: W, (outputs, inputs).
    """
    dtype = product_type(weight)
    small = weight.numel() < LARGE and dtype == weight.dtype
    if small or not torch.is_grad_enabled() or segment_count() > 1:
        bases, transposed = each_step(base), weight.t()
        return lambda x: add_product(next(bases), x, transposed)
    record, bases = Record(weight.detach().to(dtype)), each_step(base.detach())
    token = Collect.apply(record, base, weight)
    return lambda x: Step.apply(record, token, next(bases), x)


def product_type(weight: Tensor) -> torch.dtype:
    """The type in which products with a weight are taken: its own, or that of autocast, which rounds float32 alone."""
    device = weight.device.type
    rounded = weight.dtype == torch.float32 and torch.amp.is_autocast_available(device)
    return torch.get_autocast_dtype(device) if rounded and torch.is_autocast_enabled(device) else weight.dtype


def each_step(base: Tensor) -> Iterator[Tensor]:
    """The base of every step, from (..., T, B, outputs) or from a bias."""
    return repeat(base) if base.dim() == 1 else iter(base.unbind(-3))


class Record:
    """What the steps of a loop leave for the node behind them. Nothing here holds on to a graph."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.weight_version = weight, weight._version
        self.inputs: list[Tensor] = []
        self.versions: list[int] = []
        self.gradients: dict[int, Tensor] = {}
        self.backward_pass = -1

    def add(self, x: Tensor) -> int:
        """Take in the input of the next step; returns its index."""
        self.inputs.append(x.detach())
        self.versions.append(x._version)
        return len(self.inputs) - 1

    def leave(self, step: int, gradient: Tensor) -> None:
        """Take in the gradient of a step; those of an earlier backward pass are forgotten."""
        current = torch._C._current_graph_task_id()
        if current != self.backward_pass:
            self.gradients.clear()
            self.backward_pass = current
        self.gradients[step] = gradient
        require_unchanged(self.weight._version == self.weight_version)

    def take_gradients(self) -> Tensor:
        """The gradients of all steps, (..., T, B, outputs), those of unused steps zero."""
        zeros = torch.zeros_like(next(iter(self.gradients.values())))
        gradients = torch.stack([self.gradients.get(t, zeros) for t in range(len(self.inputs))], -3)
        self.gradients.clear()
        return gradients

    def stack_inputs(self) -> Tensor:
        """The inputs of all steps, (..., T, B, inputs)."""
        require_unchanged(self.versions == [x._version for x in self.inputs])
        return torch.stack(self.inputs, -3)


def require_unchanged(unchanged: bool) -> None:
    """Refuse to go backward over numbers that were written over, as automatic differentiation does."""
    if not unchanged:
        raise RuntimeError("a weight or an input of a loop was changed in place before its gradient was taken")


class Collect(Function):
    """The node behind all steps: it runs when every step that gets a gradient has left it."""

    @staticmethod
    def forward(ctx: Any, record: Record, base: Tensor, weight: Tensor) -> Tensor:
        """A token that ties the steps to base and weight."""
        ctx.record, ctx.shape = record, base.shape
        return weight.new_empty(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[None, Tensor, Tensor | None]:
        """The gradients of base and weight."""
        refuse_second_derivatives()
        gradients = ctx.record.take_gradients()
        weight = None
        if ctx.needs_input_grad[2]:
            inputs = ctx.record.stack_inputs()
            weight = gradients.to(inputs.dtype).flatten(0, -2).t() @ inputs.flatten(0, -2)
        return None, gradients.sum_to_size(ctx.shape), weight


class Step(Function):
    """One step of the loop."""

    @staticmethod
    def forward(ctx: Any, record: Record, token: Tensor, base: Tensor, x: Tensor) -> Tensor:
        """The sum base_t + W x_t."""
        x = x.to(record.weight.dtype)
        ctx.record, ctx.t = record, record.add(x)
        if few_rows(x, record.weight):
            return base + (record.weight @ x.t()).t()
        return add_product(base, x, record.weight.t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None, Tensor | None]:
        """The gradient of x_t."""
        refuse_second_derivatives()
        ctx.record.leave(ctx.t, gradient)
        weight = ctx.record.weight
        if not ctx.needs_input_grad[3]:
            return None, None, None, None
        gradient = gradient.to(weight.dtype)
        if few_rows(gradient, weight):
            return None, None, None, (weight.t() @ gradient.t()).t().contiguous()
        return None, None, None, gradient @ weight


def refuse_second_derivatives() -> None:
    """Raise where a gradient is to be differentiated once more (``create_graph=True``)."""
    if torch.is_grad_enabled():
        raise RuntimeError("gradients of the path form cannot be differentiated once more; those of the step form can")


def few_rows(x: Tensor, weight: Tensor) -> bool:
    """Whether W x^T is the faster way to x W^T: on a CPU, a few rows against a large W (docs/performance.md)."""
    return x.dim() == 2 and x.shape[0] <= 64 and weight.numel() >= LARGE and not x.is_cuda
