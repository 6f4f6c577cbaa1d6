"""Modules that return distributions: the one idea that priors, posteriors, emissions and auxiliaries share.

A `Conditional` maps a `Context`, the quantities known at a step, to a `pyro.distributions` object. It works on one
step, (..., B, size), and on all steps at once, (..., T, B, size): the leading dimensions are the batch shape of what
it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Literal, NamedTuple

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import hardtanh, leaky_relu, linear
from torch.nn.modules.module import _has_any_global_hook

from zf_pyro.loops import Map, loop_linear


class Context(NamedTuple):
    """What may be read at step t. A part names the fields that it reads; the others may be None.

    Attributes:
        hidden: h_{t-1}, (..., B, H).
        latent: z_{t-1} for the prior and the posterior, z_t for the auxiliary, (..., B, Z).
        input: the embedding of u_t, (..., B, E).
        encoding: b_t, the state of the encoder, (..., B, H).
        prior: p(z_t | context_t), for a posterior that starts from it.
        feature: what the transition hands to the emission, (..., B, F).
        prepared: what the transition computed for this step without any z; private to the transition.
    """

    hidden: Tensor | None = None
    latent: Tensor | None = None
    input: Tensor | None = None
    encoding: Tensor | None = None
    prior: TorchDistribution | None = None
    feature: Tensor | None = None
    prepared: Any = None


def present(context: Context) -> dict[str, Any]:
    """The fields of a context that are there."""
    return {name: field for name, field in context._asdict().items() if field is not None}


def beside(fields: Sequence[Tensor]) -> Tensor:
    """Fields (..., size) side by side in the last dimension, their leading dimensions broadcast."""
    if len(fields) == 1:
        return fields[0]
    shape = torch.broadcast_shapes(*(field.shape[:-1] for field in fields))
    return torch.cat([field.expand(*shape, field.shape[-1]) for field in fields], -1)


class ClippedLeakyReLU(nn.Module):
    """max(x, slope * x), clipped to [-bound, bound]: the activation of the authors' code (slope 1/3, bound 3)."""

    def __init__(self, slope: float = 1 / 3, bound: float = 3.0) -> None:
        super().__init__()
        self.slope, self.bound = slope, bound

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return hardtanh(leaky_relu(x, self.slope), -self.bound, self.bound)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"slope={self.slope:.3g}, bound={self.bound:.3g}"


def perceptron(inputs: int, outputs: int, hidden: int | None, activation: nn.Module | None = None) -> nn.Module:
    """A linear map, or one with a hidden layer of `hidden` units (by default with `ClippedLeakyReLU`)."""
    if hidden is None:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, hidden), activation or ClippedLeakyReLU(), nn.Linear(hidden, outputs))


def layers(network: nn.Module) -> list[Any]:
    """The layers of a network: those of an `nn.Sequential`, or itself."""
    return list(network) if type(network) is nn.Sequential else [network]


def is_plain(module: nn.Module) -> bool:
    """Whether no hook and no replaced method is in a module's way, so that its parts may be used without calling it."""
    replaced = any(callable(getattr(type(module), name, None)) for name in vars(module))
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return not (replaced or any(hooks) or _has_any_global_hook())


def is_plain_linear(layer: nn.Module) -> bool:
    """Whether a layer is just x -> W x + b, no subclass and with no hook."""
    return type(layer) is nn.Linear and is_plain(layer)


def is_plain_matrix(layer: nn.Module) -> bool:
    """Whether a layer is just x -> W x, as `is_plain_linear`."""
    return is_plain_linear(layer) and layer.bias is None


def in_loop(layer: nn.Module) -> Map:
    """The same map for use inside a loop over time, where a linear layer's gradient is better taken after the loop."""
    plain = is_plain_linear(layer) and layer.bias is not None
    return loop_linear(layer.bias, layer.weight) if plain else layer  # type: ignore[arg-type]


def chain(*maps: Map) -> Map:
    """One map after the other."""

    def composed(x: Tensor) -> Tensor:
        for each in maps:
            x = each(x)
        return x

    return composed


class Conditional(nn.Module):
    """A distribution given a context: subclasses implement ``forward(context)``.

    Args:
        reads: the names of the fields of `Context` that `gather` puts together. Where the path form scores a whole
            path, a context has these fields and no others.

    Raises:
        ValueError: a context has no such field.
    """

    def __init__(self, *reads: str) -> None:
        super().__init__()
        unknown = [name for name in reads if name not in Context._fields]
        if unknown:
            raise ValueError(f"no field {unknown[0]!r} in a context; there are {', '.join(Context._fields)}")
        self.reads = reads

    def gather(self, context: Context, names: Sequence[str] | None = None) -> Tensor:
        """The fields that this part reads, or some of them, side by side in the last dimension.

        Raises:
            ValueError: the context lacks one of them.
        """
        names = self.reads if names is None else names
        fields = [getattr(context, name) for name in names]
        for name, field in zip(names, fields, strict=True):
            if field is None:
                raise ValueError(f"{type(self).__name__} reads {name!r}, which this model does not provide here")
        return beside(fields)

    def own_fields(self, context: Context) -> Context:
        """The fields that this part reads, and no others."""
        fields: dict[str, Any] = {name: getattr(context, name) for name in self.reads}
        return Context(**fields)

    def forward(self, context: Context) -> TorchDistribution:
        """The distribution, its batch shape that of the fields read."""
        raise NotImplementedError

    def over_steps(self, known: Context) -> Iterator[Callable[[Context], TorchDistribution]]:
        """For each step a function from context_t to the distribution.

        A subclass that can do part of its work for all steps at once does it here.

        Args:
            known: fields that are known of all steps beforehand, (..., T, B, size); they stand for those of context_t.
        """
        fields = present(known)
        if not fields:
            yield from repeat(self)
        for parts in zip(*(field.unbind(-3) for field in fields.values()), strict=True):
            yield partial(self.with_fields, dict(zip(fields, parts, strict=True)))

    def with_fields(self, fields: dict[str, Any], context: Context) -> TorchDistribution:
        """The distribution, some fields of the context replaced."""
        return self(context._replace(**fields))


class FirstLayer(NamedTuple):
    """The first layer of a perceptron on fields of which some are known of all steps beforehand.

    Attributes:
        base: the known fields' share, with the bias, (..., T, B, units).
        weight: of the other fields, (units, their size).
        late: the names of the other fields.
    """

    base: Tensor
    weight: Tensor
    late: list[str]


class PerceptronConditional(Conditional):
    """A distribution whose parameters come from a perceptron on some fields: subclasses implement ``law``.

    Args:
        sizes: the fields read and their sizes.
        outputs: the number of parameters.
        hidden: units of the hidden layer; None for a linear map.
        activation: of the hidden layer, `ClippedLeakyReLU()` by default.
    """

    def __init__(
        self, sizes: Mapping[str, int], outputs: int, *, hidden: int | None = None, activation: nn.Module | None = None
    ) -> None:
        super().__init__(*sizes)
        self.sizes = dict(sizes)
        self.network = perceptron(sum(sizes.values()), outputs, hidden, activation)

    @property
    def row_size(self) -> int:
        """The parameters of one row's law; 0 where that law makes them itself, some rows at a time.

        0 also of a subclass with another ``forward``, which may read rows together, or another last layer.
        """
        own = type(self).forward is PerceptronConditional.forward
        return getattr(layers(self.network)[-1], "out_features", 0) if own else 0

    def law(self, parameters: Tensor) -> TorchDistribution:
        """The distribution with these parameters, (..., outputs)."""
        raise NotImplementedError

    def law_beside(self, parameters: Tensor, prior: TorchDistribution | None) -> TorchDistribution:
        """As `law`, for a posterior that starts from the prior of the step."""
        return self.law(parameters)

    def forward(self, context: Context) -> TorchDistribution:
        """The distribution, its batch shape that of the fields read."""
        return self.law_beside(self.network(self.gather(context, tuple(self.sizes))), context.prior)

    def over_steps(self, known: Context) -> Iterator[Callable[[Context], TorchDistribution]]:
        """As of any conditional; the first layer's products with the known fields are done for all steps at once."""
        share = self.first_layer(known)
        if share is None:
            yield from super().over_steps(known)
            return
        network = chain(loop_linear(share.base, share.weight), *map(in_loop, layers(self.network)[1:]))
        yield from repeat(
            lambda context: self.law_beside(network(self.gather(context, share.late)), context.prior),
            share.base.shape[-3],
        )

    def first_layer(self, known: Context) -> FirstLayer | None:
        """The first layer, split into the fields that are known of all steps beforehand and the others.

        None where one of the two is empty, or a subclass or a hook makes the layers something else.
        """
        fields = present(known)
        early, late = ([name for name in self.sizes if (name in fields) is there] for there in (True, False))
        first = layers(self.network)[0]
        own = type(self).forward is PerceptronConditional.forward and is_plain(self) and is_plain(self.network)
        if not (early and late and own and is_plain_linear(first)):
            return None
        weights = dict(zip(self.sizes, first.weight.split(list(self.sizes.values()), 1), strict=True))
        bases = [linear(fields[name], weights[name]) for name in early[1:]]
        bases.append(linear(fields[early[0]], weights[early[0]], first.bias))
        return FirstLayer(sum(bases[1:], bases[0]), beside([weights[name] for name in late]), late)


class DiagonalGaussian(PerceptronConditional):
    """N(mean, diag(exp(log-variance))), both from a perceptron on the fields read.

    Serves as prior, posterior, auxiliary p(b_t | z_t) and real-valued emission.

    Args:
        sizes: the fields read and their sizes, ``{"hidden": 500, "encoding": 500}``.
        size: the size of the variable.
        hidden: units of the hidden layer; None for a linear map.
        clamp: mean (before `mean`) and log-variance are clamped to [-clamp, clamp]; None leaves them free. The released
            PyTorch code of the paper uses 8.
        mean: "tanh" bounds the mean as an LSTM's state is bounded, as the auxiliary needs it; else "identity".
        scale: a fixed standard deviation instead of a learned one. sqrt(1/2) makes -log p the squared error plus a
            constant, log(pi) / 2 a unit.
        activation: of the hidden layer, `ClippedLeakyReLU()` by default.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        size: int,
        *,
        hidden: int | None = None,
        clamp: float | None = 8.0,
        mean: Literal["identity", "tanh"] = "identity",
        scale: float | None = None,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(sizes, size if scale is not None else 2 * size, hidden=hidden, activation=activation)
        self.clamp, self.mean, self.scale = clamp, mean, scale

    def law(self, parameters: Tensor) -> TorchDistribution:
        """Batch shape (..., B), event shape (size,)."""
        if self.clamp is not None:
            parameters = hardtanh(parameters, -self.clamp, self.clamp)
        if self.scale is None:
            mean, log_variance = parameters.chunk(2, -1)
            scale = torch.exp(0.5 * log_variance)
        else:
            mean, scale = parameters, torch.full_like(parameters, self.scale)
        return dist.Normal(mean.tanh() if self.mean == "tanh" else mean, scale).to_event(1)


class GaussianMixture(PerceptronConditional):
    """A mixture of diagonal Gaussians; weights, means and log-variances from a perceptron on the fields read.

    Serves as prior and as real-valued emission. Draws have no reparametrised gradient, so it is no posterior, and the
    divergence from a posterior to it has no closed form: it is taken at the sample.

    Args:
        sizes: the fields read and their sizes.
        size: the size of the variable.
        components: how many Gaussians.
        hidden: units of the hidden layer; None for a linear map.
        clamp: means and log-variances are clamped to [-clamp, clamp]; None leaves them free.
        activation: of the hidden layer, `ClippedLeakyReLU()` by default.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        size: int,
        *,
        components: int = 10,
        hidden: int | None = None,
        clamp: float | None = 8.0,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(sizes, components * (1 + 2 * size), hidden=hidden, activation=activation)
        self.components, self.clamp = components, clamp

    def law(self, parameters: Tensor) -> TorchDistribution:
        """Batch shape (..., B), event shape (size,)."""
        scores, rest = parameters.tensor_split([self.components], -1)
        if self.clamp is not None:
            rest = hardtanh(rest, -self.clamp, self.clamp)
        mean, log_variance = rest.unflatten(-1, (self.components, -1)).chunk(2, -1)
        parts = dist.Normal(mean, torch.exp(0.5 * log_variance)).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=scores), parts)
