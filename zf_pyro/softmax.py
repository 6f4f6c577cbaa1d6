"""The categorical law of a softmax over many classes."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.utils import lazy_property
from torch.nn.functional import cross_entropy


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
