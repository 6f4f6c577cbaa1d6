"""Emissions p(x_t | feature_t) beside the Gaussian and the mixture of `zf_pyro.conditionals`.

The same parts serve as the backward language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import hardtanh

from zf_pyro.conditionals import Context, PerceptronConditional, chain, is_plain, is_plain_linear, layers
from zf_pyro.logistics import GREATEST_SCALE, LEAST_SCALE, DiscretisedLogistics
from zf_pyro.softmax import LinearSoftmax, Softmax


class Categorical(PerceptronConditional):
    """A softmax over as many classes as there are outputs: the emission of text, and its backward language model.

    With a hidden layer and ``{"feature": H, "input": E}`` it is the emission with a skip connection from the embedded
    input, lrelu(W h_t + V embed(u_t)) followed by a linear map.

    Args:
        sizes: the fields read and their sizes.
        outputs: V, the classes.
        hidden: units of the hidden layer; None for a linear map.
        activation: of the hidden layer, `ClippedLeakyReLU()` by default.
    """

    @property
    def row_size(self) -> int:
        """0: see `LinearSoftmax`."""
        return 0

    def law(self, parameters: Tensor) -> TorchDistribution:
        """Batch shape (..., B), no event shape; values are integers."""
        return Softmax(parameters)

    def forward(self, context: Context) -> TorchDistribution:
        """The distribution, its batch shape that of the fields read."""
        *first, last = layers(self.network)
        if not (is_plain(self.network) and is_plain_linear(last) and last.bias is not None):
            return super().forward(context)
        return LinearSoftmax(chain(*first)(self.gather(context)), last.weight, last.bias)


class TiedCategorical(PerceptronConditional):
    """A softmax whose weights are those of the embedding of the inputs, so that a word has one vector, not two.

    scores = W m / sqrt(E) + w, with W the embedding's weight (V, E), and m (..., E) from a perceptron on the fields
    read. Press and Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017; the root, which keeps
    scores near 1 when the embedding starts as N(0, 1), is ours.

    Args:
        sizes: the fields read and their sizes.
        embedding: of the model. Its weight is trained there, and is no parameter of this part.
        hidden: units of the hidden layer; None for a linear map.
        activation: of the hidden layer, `ClippedLeakyReLU()` by default.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        embedding: nn.Embedding,
        *,
        hidden: int | None = None,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(sizes, embedding.embedding_dim, hidden=hidden, activation=activation)
        # In a tuple, so that PyTorch does not take the embedding for a submodule, whose weight Pyro would train twice.
        self._embedding = (embedding,)
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    @property
    def row_size(self) -> int:
        """0: see `LinearSoftmax`."""
        return 0

    def law(self, parameters: Tensor) -> TorchDistribution:
        """Batch shape (..., B), no event shape; values are integers."""
        (embedding,) = self._embedding
        return LinearSoftmax(parameters / sqrt(embedding.embedding_dim), embedding.weight, self.bias)


class Bernoulli(PerceptronConditional):
    """Independent bits, one an output, of probability sigmoid(score): the emission of pixels and of piano rolls.

    With a hidden layer and ``{"feature": H, "input": E}`` it has a skip connection, as `Categorical` may have.

    Args:
        sizes: the fields read and their sizes.
        outputs: D, the bits.
        hidden: units of the hidden layer; None for a linear map.
        activation: of the hidden layer, `ClippedLeakyReLU()` by default.
    """

    def law(self, parameters: Tensor) -> TorchDistribution:
        """Batch shape (..., B), event shape (D,); values are zeros and ones as real numbers."""
        return dist.Bernoulli(logits=parameters).to_event(1)


class LogisticMixture(PerceptronConditional):
    """Numbers on a lattice, such as 16-bit samples, each a mixture of discretised logistics of its own.

    Scores, means and log-scales come from a perceptron on the fields read; see `zf_pyro.logistics`.

    Args:
        sizes: the fields read and their sizes.
        size: D.
        lowest: the least value of each number in the units of the model, (D,) or (1,) for all alike.
        width: the distance of neighbouring values, likewise.
        levels: how many values a number may have.
        components: logistics a number.
        hidden: units of the hidden layer; None for a linear map.
        clamp: means are clamped to [-clamp, clamp], and log-scales to at most clamp; None leaves means free, and
            log-scales in the range that the width leaves sensible.
        activation: of the hidden layer, `ClippedLeakyReLU()` by default.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        size: int,
        *,
        lowest: Sequence[float],
        width: Sequence[float],
        levels: int,
        components: int = 10,
        hidden: int | None = None,
        clamp: float | None = 8.0,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(sizes, size * 3 * components, hidden=hidden, activation=activation)
        self.size, self.levels, self.clamp = size, levels, clamp
        lattice = torch.tensor([list(lowest), list(width)], dtype=torch.float64)
        self.register_buffer("lattice", lattice, persistent=False)

    def law(self, parameters: Tensor) -> TorchDistribution:
        """Batch shape (..., B), event shape (D,)."""
        scores, means, log_scales = parameters.unflatten(-1, (self.size, 3, -1)).unbind(-2)
        if self.clamp is not None:
            means, log_scales = hardtanh(means, -self.clamp, self.clamp), log_scales.clamp(max=self.clamp)
        lowest, width = self.get_buffer("lattice").to(parameters.dtype)
        least, greatest = ((width.log() + bound).unsqueeze(-1) for bound in (LEAST_SCALE, GREATEST_SCALE))
        log_scales = log_scales.clamp(least, greatest)
        return DiscretisedLogistics(scores, means, log_scales, lowest, width, self.levels)
