"""Laws made and scored a chunk of rows at a time: the same numbers in bounded memory."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.tiny import SIZES, all_parameters, tiny_batch, tiny_pair
from zf_pyro import (
    Categorical,
    Context,
    DiagonalGaussian,
    GaussianMixture,
    LogisticMixture,
    SequenceBatch,
    ZForcingELBO,
    ZForcingFIVO,
    ZForcingIWAE,
    chunks,
    importance_weights,
    softmax,
)
from zf_pyro.build import build
from zf_pyro.chunks import ChunkedLaw, in_chunks
from zf_pyro.conditionals import PerceptronConditional
from zf_pyro.config import ModelConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.scopes import local_parameters
from zf_pyro.softmax import ChunkedLogSoftmax, LinearSoftmax

CLASSES, FEATURES = 50, 4


@pytest.fixture(autouse=True)
def _local():
    with local_parameters():
        yield


@pytest.fixture(params=[1, 60, 400], ids="limit {}".format)
def limit(request, monkeypatch):
    monkeypatch.setattr(softmax, "LIMIT", request.param)
    monkeypatch.setattr(chunks, "LIMIT", request.param)
    return request.param


def linear(*shape, seed=0):
    torch.manual_seed(seed)
    return [
        torch.randn(*each, dtype=torch.float64, requires_grad=True)
        for each in ((*shape, FEATURES), (CLASSES, FEATURES), (CLASSES,))
    ]


@pytest.mark.parametrize(
    ("shape", "values"), [((7,), (7,)), ((3, 5, 2), (5, 2)), ((5, 2), (3, 5, 2)), ((3, 1, 2), (5, 2)), ((4, 3), ())]
)
def test_a_softmax_in_chunks_is_the_softmax(shape, values, limit, monkeypatch):
    parameters, value = linear(*shape), torch.randint(CLASSES, values)
    law = LinearSoftmax(*parameters)
    weights = torch.rand(torch.broadcast_shapes(shape, values), dtype=torch.float64)
    found = law.log_prob(value)
    gradients = torch.autograd.grad((weights * found).sum(), parameters)
    monkeypatch.setattr(softmax, "LIMIT", 1 << 30)
    whole = LinearSoftmax(*parameters).log_prob(value)
    assert (found.grad_fn.name() != whole.grad_fn.name()) == (weights.numel() * CLASSES > limit)
    assert torch.allclose(found, whole, rtol=1e-12)
    for ours, theirs in zip(gradients, torch.autograd.grad((weights * whole).sum(), parameters), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-14)
    assert torch.allclose(law.expand((2, *shape)).logits[1], law.logits, rtol=1e-12)


def test_the_derivative_is_that_of_finite_differences(limit):
    parameters, value = linear(6), torch.randint(CLASSES, (6,))
    assert torch.autograd.gradcheck(lambda *p: ChunkedLogSoftmax.apply(*p, value), parameters)


def test_classes_that_are_not_there_are_refused(limit):
    for value in (CLASSES, -1, -100):
        with pytest.raises((IndexError, RuntimeError)):
            LinearSoftmax(*linear(3)).log_prob(torch.tensor([value, 1, 2]))


@pytest.mark.parametrize("whole", [True, False])
def test_a_hook_on_a_softmax_is_called(whole):
    """On its network, or on its last layer: the scores are then made as PyTorch makes them."""
    part = Categorical({"feature": FEATURES}, CLASSES, hidden=5)
    context = Context(feature=torch.randn(3, FEATURES))
    expected = (2 * part(context).scores).log_softmax(-1)
    hooked = part.network if whole else part.network[-1]
    hooked.register_forward_hook(lambda module, given, scores: 2 * scores)
    assert torch.allclose(part(context).logits, expected, atol=1e-6)


PARTS = {
    "logistics": lambda: LogisticMixture({"feature": 4, "input": 2}, 3, lowest=[-1], width=[0.1], levels=21),
    "gaussians": lambda: GaussianMixture({"feature": 4, "input": 2}, 3, components=5),
    "words": lambda: Categorical({"feature": 4, "input": 2}, 9, hidden=5),
    "one gaussian": lambda: DiagonalGaussian({"feature": 4, "input": 2}, 3),
}


@pytest.mark.parametrize("name", PARTS)
def test_any_law_in_chunks_is_the_law(name, limit):
    torch.manual_seed(0)
    part = PARTS[name]().double()
    context = Context(
        feature=torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True),  # (K, T, B, F)
        input=torch.randn(5, 3, 2, dtype=torch.float64, requires_grad=True),  # (T, B, E)
    )
    whole = part(context)
    value = torch.randint(9, (5, 3)) if name == "words" else (torch.rand(5, 3, 3).double() * 2 - 1)
    law = ChunkedLaw(part, context, whole.batch_shape, rows=4)
    assert (law.batch_shape, law.event_shape) == (whole.batch_shape, whole.event_shape)
    wanted = [context.feature, context.input, *part.parameters()]
    found, expected = (each.log_prob(value) for each in (law, whole))
    assert torch.allclose(found, expected, rtol=1e-12)
    for ours, theirs in zip(
        *(torch.autograd.grad(each.sin().sum(), wanted) for each in (found, expected)), strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert law.expand((6, 2, 5, 3)).log_prob(value).shape == (6, 2, 5, 3)
    assert law.has_rsample == whole.has_rsample
    for draw in ("sample", "rsample") if law.has_rsample else ("sample",):
        assert getattr(law.expand((6, 2, 5, 3)), draw)((7,)).shape == (7, 6, *whole.shape())
    assert law.support is not None


def test_a_small_law_stays_whole(monkeypatch):
    part, context = PARTS["logistics"](), Context(feature=torch.randn(5, 4), input=torch.randn(5, 2))
    size = 5 * 3 * 3 * 10
    for most, chunked in ((size, False), (size - 1, True)):
        monkeypatch.setattr(chunks, "LIMIT", most)
        assert isinstance(in_chunks(part, context), ChunkedLaw) == chunked


class Summed(DiagonalGaussian):
    """A part of a user's own, in which a step reads those before it."""

    def forward(self, context):
        return super().forward(context._replace(feature=context.feature.cumsum(-3)))


class Bounded(PerceptronConditional):
    """A part of a user's own, whose network does not end in a linear layer."""

    def __init__(self, sizes, size):
        super().__init__(sizes, size)
        self.network = nn.Sequential(self.network, nn.Tanh())

    def law(self, parameters):
        return dist.Normal(parameters, 1.0).to_event(1)


@pytest.mark.parametrize("kind", [Summed, Bounded])
def test_a_part_whose_rows_are_not_known_stays_whole(kind, monkeypatch):
    monkeypatch.setattr(chunks, "LIMIT", 1)
    part, context = kind({"feature": 4}, 3), Context(feature=torch.randn(5, 2, 4))
    law = in_chunks(part, context)
    assert type(law) is type(part(context))
    assert torch.equal(law.mean, part(context).mean)


def frames():
    config = ModelConfig(**SIZES, emission_law="logistic-mixture", emission_components=3, emission_skip=True)
    model, guide = build(config, Observation("gaussian", 2, mean=(0.0,), std=(4.0,), limits=(-20, 20)))
    whole = [torch.randint(-20, 21, (n, 2)) / 4 for n in (5, 3)]
    batch = SequenceBatch.from_sequences(whole)
    data = {"inputs": batch.inputs.double(), "targets": batch.targets.double()}
    return model.double(), guide.double(), SequenceBatch(**data, mask=batch.mask)


MODELS = {
    "words": lambda: (*tiny_pair(), tiny_batch()),
    "tied": lambda: (*tiny_pair(emission_law="tied"), tiny_batch()),
    "frames": frames,
}
OBJECTIVES = {
    "elbo": lambda: ZForcingELBO(0.3, 0.7, 0.6),
    "iwae": lambda: ZForcingIWAE(0.3, 0.7, 0.6, num_particles=3),
    "dreg": lambda: ZForcingIWAE(0.3, 0.7, 0.6, num_particles=3, doubly=True),
    "fivo": lambda: ZForcingFIVO(0.3, 0.7, 0.6, num_particles=3, threshold=0.95),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", MODELS)
def test_objectives_and_bounds_do_not_depend_on_the_chunks(name, objective, monkeypatch):
    torch.manual_seed(0)
    model, guide, batch = MODELS[name]()
    found = []
    for most in (1 << 30, 30):
        for module in (softmax, chunks):
            monkeypatch.setattr(module, "LIMIT", most)
        torch.manual_seed(1)
        model.zero_grad()
        guide.zero_grad()
        loss = OBJECTIVES[objective]()(model, guide)(batch, form="path")
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in all_parameters(model, guide).items()}
        found.append((loss.item(), gradients, importance_weights(model, guide, batch, 4).log_weights))
    (loss, gradients, weights), (other_loss, others, other_weights) = found
    assert other_loss == pytest.approx(loss, rel=1e-12)
    assert torch.allclose(weights, other_weights, rtol=1e-11)
    for key, gradient in gradients.items():
        assert torch.allclose(gradient, others[key], rtol=1e-9, atol=1e-12), key


def test_model_and_guide_make_their_observations_laws_in_chunks(monkeypatch):
    """The emission's and the backward model's: no tensor of a training step holds either's parameters together."""
    torch.manual_seed(0)
    model, guide, batch = frames()
    rows, size = batch.mask.numel(), model.emission.row_size
    assert size == guide.backward.row_size
    monkeypatch.setattr(chunks, "LIMIT", size)
    for weights, part in (((0.0, 0.0), model.emission), ((0.0, 0.5), guide.backward)):
        made = []
        part.network.register_forward_hook(lambda network, given, found, made=made: made.append(found.numel()))
        ZForcingELBO(*weights)(model, guide)(batch, form="path").backward()
        assert max(made) == size
        assert len(made) >= rows - batch.num_sequences


class Largest(TorchDispatchMode):
    """Remembers how many elements the largest tensor had that any operation made."""

    def __init__(self):
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        sizes = [each.numel() for each in tree_leaves(made) if isinstance(each, torch.Tensor)]
        self.size = max([self.size, *sizes])
        return made


@pytest.mark.parametrize("rows", [100, 1_000])
def test_no_tensor_grows_with_rows_times_classes(rows, monkeypatch):
    """Forward and backward: the largest is a chunk, or what is kept of the rows and of the weights."""
    monkeypatch.setattr(softmax, "LIMIT", 2_000)
    monkeypatch.setattr(chunks, "LIMIT", 2_000)
    features, weight, bias = linear(rows)
    with Largest() as seen:
        LinearSoftmax(features, weight, bias).log_prob(torch.randint(CLASSES, (rows,))).sum().backward()
    assert seen.size <= max(2_000, rows * FEATURES)
    part = LogisticMixture({"feature": FEATURES}, 3, lowest=[-1], width=[0.1], levels=21).double()
    context = Context(feature=features)
    with Largest() as seen:
        in_chunks(part, context).log_prob(torch.zeros(rows, 3, dtype=torch.float64)).sum().backward()
    assert seen.size <= max(2_000, rows * FEATURES)
