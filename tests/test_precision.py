"""Training in bfloat16: what is in it, what is not, and how far it is from float32."""

from collections import defaultdict

import pyro
import pytest
import torch
from pyro import poutine
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import SIZES, VOCABULARY, all_parameters, tiny_batch
from zf_pyro import SequenceBatch, chunks, softmax
from zf_pyro.build import build, build_objective
from zf_pyro.conditionals import Conditional
from zf_pyro.config import ModelConfig, ObjectiveConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.divergences import log_prob
from zf_pyro.objectives import stochastic_sites
from zf_pyro.parts import FAMILIES
from zf_pyro.precision import products_in
from zf_pyro.scopes import local_parameters

CPU = torch.device("cpu")
BITS = Observation("bernoulli", 5)
WORDS = Observation("categorical", VOCABULARY)
NUMBERS = Observation("gaussian", 4)
EMISSIONS = {
    "categorical": (WORDS, ""),
    "tied": (WORDS, "tied"),
    "bernoulli": (BITS, ""),
    "gaussian": (NUMBERS, ""),
    "mixture": (NUMBERS, "gaussian-mixture"),
}
PAIRS = [(f, e) for f in FAMILIES for e in EMISSIONS if (f, e) != ("dmm", "tied")]  # a DMM has no embedding to tie

UNIT = torch.finfo(torch.bfloat16).eps / 2
"""The greatest relative error of a number rounded to bfloat16."""


@pytest.fixture(autouse=True)
def _local():
    with local_parameters(), pyro.validation_enabled(False):
        yield


def batch_of(observation, seed=0, lengths=(4, 2, 3)):
    if observation.law == "categorical":
        return tiny_batch(lengths)
    generator = torch.Generator().manual_seed(seed)
    numbers = [torch.randn(n, observation.size, generator=generator) for n in lengths]
    return SequenceBatch.from_sequences([each > 0 if observation.law == "bernoulli" else each for each in numbers])


def make(emission="bernoulli", objective=None, device="cpu", **options):
    """A pair in training mode, its objective and its batch."""
    torch.manual_seed(0)
    observation, law = EMISSIONS[emission]
    config = ModelConfig(**{**SIZES, "input_dropout": 0.3, "emission_components": 3, **options}, emission_law=law)
    model, guide = build(config, observation)
    added = {"alpha": 0.1, "beta": 0.0 if config.family == "srnn" else 0.1} if config.parts.runs_backward else {}
    weights = {"alpha": 0.0, "beta": 0.0, **added, "gamma": 0.6, **(objective or {})}
    elbo = build_objective(ObjectiveConfig(**weights), count=1)
    return model.to(device), guide.to(device), elbo, batch_of(observation).to(device)


def loss_and_gradient(parts, precision, form="path"):
    """The loss, and its gradient by all parameters in one row."""
    model, guide, elbo, batch = parts
    parameters = list(all_parameters(model, guide).values())
    torch.manual_seed(1)
    with products_in(precision, batch.mask.device):
        loss = elbo(model, guide)(batch, form=form)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert all(each is None or each.dtype == torch.float32 for each in gradients)
    row = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    return loss, torch.cat([each.flatten() for each in row])


class Products(TorchFunctionMode):
    """Inside, notes the products of factors that autocast would round, and how far rounding may move each of them.

    Of y = W x + b with factors, bias and result each rounded to u: |error of y| <= 3 u (|W| |x| + |b|), up to u^2.
    """

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("linear", "addmm", "matmul", "__matmul__", "mm") and result.requires_grad:
            result = result * 1.0  # a result of its own, so that its gradient is of this use of it
            result.retain_grad()
            self.found.append((result, func(*(each.detach().abs() for each in args if each is not None))))
        return result

    def bound(self):
        """How far a function of all the products may move, to first order; call it after its backward pass."""
        return sum(
            3 * UNIT * (each.grad.abs() * size).sum().item() for each, size in self.found if each.grad is not None
        )


def greatest_difference(parts, form="path"):
    model, guide, elbo, batch = parts
    torch.manual_seed(1)
    with Products() as products:
        loss = elbo(model, guide)(batch, form=form)
    loss.backward()
    assert products.found
    return products.bound()


def check(parts, form="path"):
    """A finite loss in float32, as far from float32's as the rounded products may take it, and a like gradient."""
    loss, gradient = loss_and_gradient(parts, "float32", form)
    low, low_gradient = loss_and_gradient(parts, "bfloat16", form)
    assert low.dtype == torch.float32
    assert low.isfinite()
    assert low != loss
    assert abs(low - loss).item() <= greatest_difference(parts, form)
    assert torch.cosine_similarity(gradient, low_gradient, 0) > 0.999


@pytest.mark.parametrize(("family", "emission"), PAIRS, ids=map("-".join, PAIRS))
def test_the_loss_and_its_gradient_are_those_of_float32_up_to_rounded_products(family, emission):
    check(make(emission, family=family))


def test_the_step_form_likewise():
    check(make("categorical"), "step")


OBJECTIVES = {
    "free bits": {"free_bits": 0.5},
    "balanced": {"kl_balance": 0.8},
    "elbo of particles": {"train_particles": 3},
    "iwae": {"objective": "iwae"},
    "dreg": {"objective": "dreg"},
    "fivo": {"objective": "fivo"},
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_likewise(name):
    check(make("bernoulli", OBJECTIVES[name]))


PARTS = {
    "gru": {"transition": "gru"},
    "cond-ln": {"transition": "cond-ln"},
    "two layers": {"num_layers": 2},
    "flows": {"prior": "flow", "guide": "flow"},
    "residual": {"family": "vrnn", "guide": "residual"},
    "skip": {"emission_skip": True},
    "mixture": {"prior": "mixture", "guide": "bidirectional"},
}


@pytest.mark.parametrize("name", PARTS)
def test_other_parts_likewise(name):
    check(make("categorical", **PARTS[name]))


class OwnGaussian(Conditional):
    """A law as a user may write it: products of tensors, and nothing about precision."""

    def __init__(self, hidden, size):
        super().__init__("hidden")
        self.weight = torch.nn.Parameter(torch.randn(hidden, 2 * size) / 3)

    def forward(self, context):
        mean, score = (context.hidden @ self.weight).chunk(2, -1)
        return pyro.distributions.Normal(mean, torch.nn.functional.softplus(score) + 0.1).to_event(1)


def laws_and_scores(model, guide, batch):
    """All that the sites of a pair of traces compute with, by the site's name."""
    guide_trace = poutine.trace(guide).get_trace(batch, form="path")
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch, form="path")
    for trace in (guide_trace, model_trace):
        for name, site in stochastic_sites(trace):
            yield name, log_prob(site)
            if name == "z":
                base = site["fn"].given(site["value"]).law.base_dist
                yield from (("mean of z", base.loc), ("scale of z", base.scale))
            if "term" in site["infer"]:
                yield site["infer"]["term"], site["value"]
    yield "state of the encoder", guide.encode(batch)
    yield from (("context", field) for field in guide_trace.nodes["z"]["fn"].states.path.steps.fields.values())


@pytest.mark.parametrize("own", [False, True], ids=["named", "own"])
@pytest.mark.parametrize("emission", EMISSIONS)
def test_laws_states_and_scores_are_in_float32(emission, own):
    model, guide, _, batch = make(emission)
    if own:
        model.prior = OwnGaussian(SIZES["hidden_size"], SIZES["latent_size"])
    with products_in("bfloat16", CPU):
        found = defaultdict(set)
        for name, tensor in laws_and_scores(model, guide, batch):
            found[name].add(tensor.dtype)
    assert {"z", "x", "mean of z", "auxiliary", "backward", "context"} <= set(found)
    assert all(dtypes == {torch.float32} for dtypes in found.values()), found


class Kernels(TorchDispatchMode):
    """Inside, notes the types of the tensors that every kernel is given."""

    def __init__(self):
        super().__init__()
        self.types = defaultdict(set)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.types[func.overloadpacket.__name__] |= {each.dtype for each in args if isinstance(each, torch.Tensor)}
        return func(*args, **(kwargs or {}))

    def of(self, *names):
        return set().union(*(self.types.get(name, set()) for name in names))


PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "dot")
MATHS = ("exp", "log", "logsumexp", "_log_softmax", "tanh", "sigmoid", "mul", "sum", "sub", "div", "pow", "logsigmoid")


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("srnn", "rnn")])
def test_products_are_in_bfloat16_and_nothing_else_is(family):
    """Forward and backward; the GRU of the SRNN and the LSTM of the RNN are PyTorch's, in float32 on a CPU."""
    model, guide, elbo, batch = make("bernoulli", family=family)
    with Kernels() as forward, products_in("bfloat16", CPU):
        loss = elbo(model, guide)(batch, form="path")
    with Kernels() as backward:
        loss.backward()
    assert forward.of(*PRODUCTS) == backward.of(*PRODUCTS) == {torch.bfloat16}
    assert torch.bfloat16 not in forward.of(*MATHS)
    with Kernels() as outside:
        elbo(model, guide)(batch, form="path").backward()
    assert outside.of(*PRODUCTS) == {torch.float32}


def test_gradients_of_many_steps_add_up_in_float32():
    """In bfloat16 a sum of equal numbers comes to a halt when it is 256 times the next."""
    layer, x = torch.nn.Linear(4, 4), torch.randn(3, 4).bfloat16().float()
    with products_in("bfloat16", CPU):
        loss = sum(layer(x).sum() for _ in range(1000))
    loss.backward()
    assert torch.allclose(layer.weight.grad, 1000 * x.sum(0).expand(4, 4), rtol=4 * UNIT)
    assert torch.equal(layer.bias.grad, torch.full((4,), 3000.0))


def test_what_is_asked_for_in_bfloat16_stays_in_it():
    with products_in("bfloat16", CPU):
        low = torch.ones(2, 2).to(torch.bfloat16)
        assert (low @ low).dtype == low.t().dtype == low.dtype == torch.ones(2).bfloat16().dtype == torch.bfloat16
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert {each.dtype for each in torch.nn.LSTMCell(2, 3)(torch.ones(1, 2))} == {torch.float32}
    assert (low @ low).dtype == torch.bfloat16


@pytest.mark.parametrize(("module", "emission"), [(chunks, "mixture"), (softmax, "categorical")])
def test_laws_made_in_chunks_are_those_made_at_once(module, emission, monkeypatch):
    parts = make(emission)
    whole, gradient = loss_and_gradient(parts, "bfloat16")
    monkeypatch.setattr(module, "LIMIT", 2 * VOCABULARY)
    loss, other = loss_and_gradient(parts, "bfloat16")
    assert loss.item() == pytest.approx(whole.item(), abs=greatest_difference(parts))
    assert torch.cosine_similarity(gradient, other, 0) > 0.999
