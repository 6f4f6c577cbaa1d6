"""The categorical law of a softmax over many classes, whose scores need not all be there at once.

Of 16,004 words the scores of every particle, step and sequence together are far larger than all else that is kept for
the gradient. `LinearSoftmax` keeps what they are a linear map of, and makes them a chunk of rows at a time: once for
the log-probabilities, once more for the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions.utils import lazy_property
from torch.nn.functional import cross_entropy, linear

LIMIT = 1 << 24
"""Scores that are held together, of however many rows these are."""


class Softmax(dist.Categorical):
    """softmax(scores), as `pyro.distributions.Categorical`, in fewer passes over the scores.

    That class normalises the scores when it is made and keeps both; here a log-probability is one fused operation, and
    the normalised scores are computed where somebody asks for them. With 16,000 classes each pass counts.

    Args:
        scores: real numbers, (..., V): the log-probabilities up to a constant.
    """

    def __init__(self, scores: Tensor) -> None:
        self.scores = self._param = scores
        self._num_events = scores.shape[-1]
        torch.distributions.Distribution.__init__(self, scores.shape[:-1], validate_args=False)

    @lazy_property
    def logits(self) -> Tensor:
        """Log-probabilities, (..., V)."""
        return self.scores.log_softmax(-1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Softmax:
        """The same law for a larger batch."""
        return Softmax(self.scores.expand(*batch_shape, self._num_events))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log softmax(scores)[value], in nats; value is of integers and broadcasts with the batch shape."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        scores = self.scores.expand(*shape, self._num_events).reshape(-1, self._num_events)
        targets = value.expand(shape).reshape(-1).long()
        loss = cross_entropy(scores, targets, reduction="none", ignore_index=torch.iinfo(torch.int64).min)
        return -loss.reshape(shape)


class LinearSoftmax(Softmax):
    """softmax(W f + w), the scores made where they are asked for.

    Args:
        features: f, (..., H).
        weight: W, (V, H).
        bias: w, (V,).
    """

    def __init__(self, features: Tensor, weight: Tensor, bias: Tensor) -> None:
        self.features, self.weight, self.bias = features, weight, bias
        self._num_events = len(weight)
        torch.distributions.Distribution.__init__(self, features.shape[:-1], validate_args=False)

    @cached_property
    def scores(self) -> Tensor:  # type: ignore[override]
        """W f + w, (..., V)."""
        return linear(self.features, self.weight, self.bias)

    @property
    def _param(self) -> Tensor:  # type: ignore[override]
        return self.scores

    def expand(self, batch_shape: Any, _instance: Any = None) -> LinearSoftmax:
        """The same law for a larger batch."""
        return LinearSoftmax(self.features.expand(*batch_shape, self.features.shape[-1]), self.weight, self.bias)

    def log_prob(self, value: Tensor) -> Tensor:
        """As of `Softmax`; of more than `LIMIT` scores, some rows at a time."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        if shape.numel() * self._num_events <= LIMIT:
            return super().log_prob(value)
        size = self.features.shape[-1]
        rows, targets = self.features.expand(*shape, size).reshape(-1, size), value.expand(shape).reshape(-1)
        return ChunkedLogSoftmax.apply(rows, self.weight, self.bias, targets.long()).reshape(shape)


class ChunkedLogSoftmax(torch.autograd.Function):
    """log softmax(W f_n + w)[y_n] of rows n = 1 .. N, by way of chunks of the scores.

    With p_n = softmax(W f_n + w), e the unit vectors and g_n the gradient of row n's outcome:
    df_n = g_n (e_{y_n} - p_n) W,    dW = sum_n g_n (e_{y_n} - p_n) f_n^T,    dw = sum_n g_n (e_{y_n} - p_n).
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """(N,), in nats, from f (N, H), W (V, H), w (V,) and y (N,)."""
        normalisers, chosen = features.new_empty(len(features)), features.new_empty(len(features))
        for rows, scores in score_chunks(features, weight, bias):
            normalisers[rows] = scores.logsumexp(-1)
            chosen[rows] = scores.gather(1, targets[rows].unsqueeze(1)).squeeze(1)
        ctx.save_for_backward(features, weight, bias, targets, normalisers)
        return chosen - normalisers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Of f, W and w."""
        features, weight, bias, targets, normalisers = ctx.saved_tensors
        weighted = features * gradient.unsqueeze(1)
        of_features = weight[targets]
        of_weight = torch.zeros_like(weight).index_add_(0, targets, weighted)
        of_bias = torch.zeros_like(bias).index_add_(0, targets, gradient)
        for rows, scores in score_chunks(features, weight, bias):
            probabilities = scores.sub_(normalisers[rows].unsqueeze(1)).exp_()
            of_features[rows].addmm_(probabilities, weight, alpha=-1)
            of_weight.addmm_(probabilities.t(), weighted[rows], alpha=-1)
            of_bias.addmv_(probabilities.t(), gradient[rows], alpha=-1)
        return of_features.mul_(gradient.unsqueeze(1)), of_weight, of_bias, None


def score_chunks(features: Tensor, weight: Tensor, bias: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their scores, (rows, V), a chunk after the other in the same memory."""
    count = min(len(features), max(1, LIMIT // len(weight)))
    scores = features.new_empty(count, len(weight))
    for start in range(0, len(features), count):
        rows = slice(start, start + count)
        part = features[rows]
        yield rows, torch.addmm(bias, part, weight.t(), out=scores[: len(part)])
