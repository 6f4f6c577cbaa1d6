"""What each part of each family depends on, by autograd, and what it is made of."""

import re
from collections import namedtuple

import pytest
import torch
from pyro import poutine
from torch import nn
from torch.distributions import Independent, Normal

from zf_pyro import (
    BackwardEncoder,
    BidirectionalEncoder,
    Context,
    CouplingFlow,
    DelayedTransition,
    DeterministicTransition,
    DiagonalGaussian,
    ForwardEncoder,
    GatedTransition,
    GaussianMixture,
    GRUTransition,
    InputError,
    LayerNormLSTMTransition,
    LSTMTransition,
    MarkovTransition,
    PriorPosterior,
    ResidualGaussian,
    SequenceBatch,
    StackedTransition,
    StandardNormal,
    TargetEncoder,
    Transition,
    ZForcingELBO,
    loops,
)
from zf_pyro.build import build
from zf_pyro.config import ModelConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.encoders import Encoder
from zf_pyro.parts import ENCODERS, FAMILIES, POSTERIORS
from zf_pyro.paths import PathDistribution
from zf_pyro.scopes import evaluating, local_parameters

STEPS, SEQUENCES, WIDTH, LATENT = 4, 2, 2, 3
SIZES = {"embedding_size": 6, "hidden_size": 8, "latent_size": LATENT, "mlp_size": 5}
FORMS = ("step", "path")


@pytest.fixture(autouse=True)
def _local(monkeypatch):
    monkeypatch.setattr(loops, "LARGE", 0)
    with local_parameters():
        yield


def in_words(options):
    return "-".join(f"{name}={value}" for name, value in options.items()) or "default"


def first_in_words(table):
    return [in_words(options) for options, *_ in table]


def make(law="gaussian", **options):
    """A pair in double precision whose weights are larger than at initialisation."""
    torch.manual_seed(0)
    config = ModelConfig(**{**SIZES, "input_dropout": 0.0, "mixture_components": 3, "flow_layers": 2, **options})
    pair = [each.double() for each in build(config, Observation(law, WIDTH))]
    for parameter in (parameter for each in pair for parameter in each.parameters()):
        parameter.data += 0.3 * torch.randn_like(parameter)
    return pair


def random(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch_of(inputs, targets):
    return SequenceBatch(inputs, targets, torch.ones(inputs.shape[:2], dtype=torch.bool))


Leaves = namedtuple("Leaves", "u x z")
"""Inputs, targets and latents of all steps, (T, B, D): u_t is not x_{t-1}, but a tensor of its own."""


def leaves_of(model):
    latent = 0 if isinstance(model.prior, StandardNormal) and not len(model.prior.mean) else LATENT
    tensors = (random(STEPS, SEQUENCES, size, seed=seed) for seed, size in enumerate((WIDTH, WIDTH, latent)))
    return Leaves(*(tensor.requires_grad_() for tensor in tensors))


def given_path(program, z, form, **data):
    """The program along a path (T, B, Z)."""
    steps = {f"z_{t}": each for t, each in enumerate(z, 1)}
    return poutine.condition(program, data={**data, **(steps if form == "step" else {"z": z.transpose(0, 1)})})


def laws_of(trace, site, z, form):
    """The law of z_t or x_t at every step, in parameters (T, B, size)."""
    if form == "step":
        laws = [parameters_of(trace.nodes[f"{site}_{t}"]["fn"]) for t in range(1, STEPS + 1)]
        return [torch.stack(each) for each in zip(*laws, strict=True)]
    law = trace.nodes[site]["fn"]
    return parameters_of((law.given(z.transpose(0, 1)) if site == "z" else law).law)


def parameters_of(law):
    """Mean and scale, or scores of bits; of a law that has no such parameters, the density of a point."""
    if not isinstance(law, Independent):
        return [law.log_prob(torch.ones(*law.batch_shape, LATENT, dtype=torch.float64)).unsqueeze(-1)]
    base = law.base_dist
    return [base.loc, base.scale] if isinstance(base, Normal) else [base.logits]


def program_laws(model, guide, leaves, form, **data):
    """Parameters of prior, posterior and emission, given everything."""
    u, x, z = leaves
    # The step form of the model takes u_t from the site x_{t-1}.
    targets = torch.cat([u[1:], x[-1:]]) if form == "step" else x
    of_model = poutine.trace(given_path(model, z, form, **data)).get_trace(batch_of(u, targets), form=form)
    of_guide = poutine.trace(given_path(guide, z, form, **data)).get_trace(batch_of(u, x), form=form)
    return {
        "prior": laws_of(of_model, "z", z, form),
        "posterior": laws_of(of_guide, "z", z, form),
        "emission": laws_of(of_model, "x", z, form),
    }


def steps_read(parameter, leaves):
    """The pairs (name, s) of the leaves on which numbers (B, size) of one step depend, none of another sequence."""
    total = (parameter[0] * random(*parameter[0].shape, seed=9)).sum()
    if not total.requires_grad:
        return set()
    gradients = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
    there = {name: each for name, each in zip(leaves._fields, gradients, strict=True) if each is not None}
    assert not any(gradient[:, 1:].any() for gradient in there.values())
    return {(name, s) for name, gradient in there.items() for s in range(1, STEPS + 1) if gradient[s - 1].any()}


RELATIONS = {
    "<t": lambda s, t: s < t,
    "<=t": lambda s, t: s <= t,
    "=t": lambda s, t: s == t,
    ">=t": lambda s, t: s >= t,
    "=t-1": lambda s, t: s == t - 1,
    ":all": lambda s, t: True,
}


def steps_meant(told, t):
    """The same pairs from words: "u<t z=t-1" is u_1 .. u_{t-1} and z_{t-1}."""
    found = [re.fullmatch(r"([uxz])(.+)", word).groups() for word in told.split()]
    return {(name, s) for name, relation in found for s in range(1, STEPS + 1) if RELATIONS[relation](s, t)}


def check_reads(parameters, told, leaves):
    assert parameters
    for parameter in parameters:
        for t, of_step in enumerate(parameter, 1):
            assert steps_read(of_step, leaves) == steps_meant(told, t), f"step {t} of {told!r}"


PAST, NOW = "u<t z<t", "u<=t z<=t"
DEPENDENCIES = [
    # zforcing and its guides
    ({}, PAST, f"{PAST} x>=t", NOW),
    ({"share_embedding": False}, PAST, f"{PAST} x>=t", NOW),
    ({"emission_skip": True}, PAST, f"{PAST} x>=t", NOW),
    ({"guide": "forward"}, PAST, f"{PAST} x<=t", NOW),
    ({"guide": "filtering"}, PAST, f"{PAST} x=t", NOW),
    ({"guide": "bidirectional"}, PAST, f"{PAST} x:all", NOW),
    ({"guide": "mean-field"}, PAST, "x:all", NOW),
    ({"guide": "backward-mean-field"}, PAST, "x>=t", NOW),
    ({"guide": "forward-mean-field"}, PAST, "x<=t", NOW),
    ({"guide": "none-mean-field"}, PAST, "x=t", NOW),
    ({"guide": "flow"}, PAST, f"{PAST} x>=t", NOW),
    ({"guide": "prior"}, PAST, PAST, NOW),
    ({"guide": "residual"}, PAST, f"{PAST} x>=t", NOW),
    ({"guide": "forward-residual"}, PAST, f"{PAST} x<=t", NOW),
    # its priors
    ({"prior": "learned-input"}, "u<=t z<t", f"{PAST} x>=t", NOW),
    ({"prior": "learned-input", "guide": "prior"}, "u<=t z<t", "u<=t z<t", NOW),
    ({"prior": "standard-normal"}, "", f"{PAST} x>=t", NOW),
    ({"prior": "standard-normal", "guide": "prior"}, "", "", NOW),
    ({"prior": "standard-normal", "guide": "residual"}, "", f"{PAST} x>=t", NOW),
    ({"prior": "transition"}, "z=t-1", f"{PAST} x>=t", NOW),
    ({"prior": "mixture"}, PAST, f"{PAST} x>=t", NOW),
    ({"prior": "flow"}, PAST, f"{PAST} x>=t", NOW),
    # its transitions
    ({"transition": "gru"}, PAST, f"{PAST} x>=t", NOW),
    ({"transition": "cond-ln"}, PAST, f"{PAST} x>=t", NOW),
    ({"num_layers": 2}, PAST, f"{PAST} x>=t", NOW),
    ({"num_layers": 2, "prior": "transition"}, "z=t-1", f"{PAST} x>=t", NOW),
    ({"num_layers": 2, "prior": "learned-input"}, "u<=t z<t", f"{PAST} x>=t", NOW),
    ({"family": "storn"}, "", "x<=t", NOW),
    ({"family": "storn", "guide": "backward"}, "", f"{PAST} x>=t", NOW),
    # vrnn
    ({"family": "vrnn"}, "u<=t z<t", "u<=t z<t x=t", NOW),
    ({"family": "vrnn", "transition": "gru"}, "u<=t z<t", "u<=t z<t x=t", NOW),
    ({"family": "vrnn", "transition": "cond-ln"}, "u<=t z<t", "u<=t z<t x=t", NOW),
    ({"family": "vrnn", "num_layers": 2}, "u<=t z<t", "u<=t z<t x=t", NOW),
    ({"family": "vrnn", "prior": "learned-input"}, "u<=t z<t", "u<=t z<t x=t", NOW),
    ({"family": "vrnn", "prior": "transition"}, "z=t-1", "u<=t z<t x=t", NOW),
    ({"family": "vrnn", "guide": "residual"}, "u<=t z<t", "u<=t z<t x>=t", NOW),
    ({"family": "vrnn", "guide": "mean-field"}, "u<=t z<t", "x:all", NOW),
    # srnn, whose encoder reads d_t
    ({"family": "srnn"}, "u<=t z=t-1", "u:all z=t-1 x>=t", "u<=t z=t"),
    ({"family": "srnn", "transition": "lstm"}, "u<=t z=t-1", "u:all z=t-1 x>=t", "u<=t z=t"),
    ({"family": "srnn", "num_layers": 2}, "u<=t z=t-1", "u:all z=t-1 x>=t", "u<=t z=t"),
    ({"family": "srnn", "guide": "backward"}, "u<=t z=t-1", "u:all z=t-1 x>=t", "u<=t z=t"),
    ({"family": "srnn", "guide": "forward"}, "u<=t z=t-1", "u<=t z=t-1 x<=t", "u<=t z=t"),
    ({"family": "srnn", "guide": "filtering"}, "u<=t z=t-1", "u<=t z=t-1 x=t", "u<=t z=t"),
    ({"family": "srnn", "guide": "mean-field"}, "u<=t z=t-1", "u:all x:all", "u<=t z=t"),
    ({"family": "srnn", "guide": "none-mean-field"}, "u<=t z=t-1", "u<=t x=t", "u<=t z=t"),
    ({"family": "srnn", "guide": "prior"}, "u<=t z=t-1", "u<=t z=t-1", "u<=t z=t"),
    ({"family": "srnn", "prior": "transition"}, "z=t-1", "u:all z=t-1 x>=t", "u<=t z=t"),
    ({"family": "srnn", "prior": "standard-normal"}, "", "u:all z=t-1 x>=t", "u<=t z=t"),
    # dmm, which reads no u_t unless its prior does
    ({"family": "dmm"}, "z=t-1", "z=t-1 x>=t", "z=t"),
    ({"family": "dmm", "emission_skip": True}, "z=t-1", "z=t-1 x>=t", "z=t"),
    ({"family": "dmm", "prior": "learned"}, "z=t-1", "z=t-1 x>=t", "z=t"),
    ({"family": "dmm", "prior": "learned-input"}, "u=t z=t-1", "z=t-1 x>=t", "z=t"),
    ({"family": "dmm", "prior": "learned-input", "guide": "prior"}, "u=t z=t-1", "u=t z=t-1", "z=t"),
    ({"family": "dmm", "prior": "standard-normal"}, "", "z=t-1 x>=t", "z=t"),
    ({"family": "dmm", "guide": "residual"}, "z=t-1", "z=t-1 x>=t", "z=t"),
    ({"family": "dmm", "guide": "mean-field"}, "z=t-1", "x:all", "z=t"),
    # rnn
    ({"family": "rnn"}, "", "", "u<=t"),
    ({"family": "rnn", "transition": "gru", "num_layers": 2}, "", "", "u<=t"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("options", "prior", "posterior", "emission"), DEPENDENCIES, ids=first_in_words(DEPENDENCIES))
def test_which_steps_each_law_depends_on(options, prior, posterior, emission, form):
    model, guide = make(**options)
    leaves = leaves_of(model)
    laws = program_laws(model, guide, leaves, form)
    for name, told in (("prior", prior), ("posterior", posterior), ("emission", emission)):
        check_reads(laws[name], told, leaves)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_bits_depend_on_the_steps_that_real_numbers_depend_on(family, form):
    model, guide = make("bernoulli", family=family)
    leaves = leaves_of(model)
    leaves = leaves._replace(**{name: (getattr(leaves, name) > 0).double().requires_grad_() for name in "ux"})
    told = next(told for options, *_, told in DEPENDENCIES if options.get("family", "zforcing") == family)
    check_reads(program_laws(model, guide, leaves, form)["emission"], told, leaves)


RESIDUALS = [
    ({"prior": "learned-input"}, "u<=t z<t x>=t", f"{PAST} x>=t"),
    ({"family": "dmm", "prior": "learned-input"}, "u=t z=t-1 x>=t", "z=t-1 x>=t"),
    ({"family": "storn", "prior": "learned-input"}, "u<=t z<t x>=t", f"{PAST} x>=t"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("options", "mean", "scale"), RESIDUALS, ids=first_in_words(RESIDUALS))
def test_the_mean_of_a_residual_posterior_depends_on_its_prior_and_its_scale_does_not(options, mean, scale, form):
    model, guide = make(guide="residual", **options)
    leaves = leaves_of(model)
    found = program_laws(model, guide, leaves, form)["posterior"]
    for parameter, told in zip(found, (mean, scale), strict=True):
        check_reads([parameter], told, leaves)


def own_numbers(posterior, *fields):
    """Mean and scale that the posterior's network gives by itself."""
    mean, log_variance = posterior.network(torch.cat(fields, -1)).clamp(-8, 8).chunk(2, -1)
    return mean, (log_variance / 2).exp()


@pytest.mark.parametrize("shape", [(SEQUENCES,), (STEPS, SEQUENCES), (7, STEPS, SEQUENCES)])
def test_a_residual_posterior_is_its_own_gaussian_with_the_priors_mean_added(shape):
    posterior = make(guide="residual")[1].posterior
    assert type(posterior) is ResidualGaussian
    hidden, encoding, loc = (random(*shape, size, seed=size) for size in (8, 8, LATENT))
    prior = Independent(Normal(20 * loc, torch.full_like(loc, 5.0)), 1)
    law = posterior(Context(hidden=hidden, encoding=encoding, prior=prior))
    mean, scale = own_numbers(posterior, hidden, encoding)
    assert (law.batch_shape, law.event_shape) == (shape, (LATENT,))
    assert torch.allclose(law.base_dist.loc - 20 * loc, mean, rtol=1e-12, atol=1e-12)
    assert torch.allclose(law.base_dist.scale, scale, rtol=1e-12)
    assert mean.abs().min() > 1e-3


@pytest.mark.parametrize("shape", [(SEQUENCES,), (STEPS, SEQUENCES)])
def test_a_residual_posterior_of_a_standard_normal_prior_is_its_own_gaussian(shape):
    model, guide = make(family="storn", guide="residual")
    hidden, encoding = random(*shape, 8), random(*shape, 8, seed=2)
    law = guide.posterior(Context(hidden=hidden, encoding=encoding, prior=model.prior(Context())))
    mean, scale = own_numbers(guide.posterior, hidden, encoding)
    assert law.batch_shape == shape
    assert torch.allclose(law.base_dist.loc, mean, rtol=1e-12)
    assert torch.allclose(law.base_dist.scale, scale, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prior", ["", "standard-normal", "transition", "learned-input"])
@pytest.mark.parametrize("family", ["zforcing", "srnn", "dmm"])
def test_a_residual_guide_adds_the_means_of_the_models_prior(family, prior, form):
    model, guide = make(family=family, prior=prior, guide="residual")
    leaves = leaves_of(model)
    with torch.no_grad():
        laws = program_laws(model, guide, leaves, form)
        guide.posterior.__class__ = DiagonalGaussian
        alone = program_laws(model, guide, leaves, form)["posterior"]
    mean, scale = laws["posterior"]
    assert torch.allclose(mean, laws["prior"][0] + alone[0], rtol=1e-12, atol=1e-12)
    assert torch.allclose(scale, alone[1], rtol=1e-12)


@pytest.mark.parametrize("context", [Context(), Context(hidden=torch.ones(5, 8), latent=torch.ones(5, 3))])
def test_the_standard_normal_is_exactly_that_whatever_the_context(context):
    prior = StandardNormal(LATENT).double()
    law = prior(context)
    assert (law.batch_shape, law.event_shape) == ((), (LATENT,))
    assert torch.equal(law.base_dist.loc, torch.zeros(LATENT).double())
    assert torch.equal(law.base_dist.scale, torch.ones(LATENT).double())
    z = random(STEPS, SEQUENCES, LATENT)
    expected = Normal(0.0, 1.0).log_prob(z).sum(-1)
    for wider in (law, law.expand(torch.Size((SEQUENCES,))), law.expand(torch.Size((STEPS, SEQUENCES)))):
        assert torch.allclose(wider.log_prob(z), expected, rtol=1e-14)
    assert not list(prior.parameters())
    assert not prior.state_dict()


@pytest.mark.parametrize(
    ("part", "told"),
    [("backward", lambda s, t: s >= t), ("the rest", lambda s, t: s <= t)],
    ids=["backward_state", "the other half"],
)
def test_halves_of_the_bidirectional_encoder(part, told):
    torch.manual_seed(0)
    encoder = BidirectionalEncoder(WIDTH, 5).double()
    lengths = torch.tensor([STEPS, STEPS - 1])
    x = random(STEPS, 2, WIDTH).requires_grad_()
    encoding = encoder(x, lengths)
    future = encoder.backward_state(encoding)
    half = future if part == "backward" else encoding[..., : encoding.shape[-1] - future.shape[-1]]
    assert half.shape == (STEPS, 2, 5)
    for sequence, length in enumerate(lengths.tolist()):
        for t in range(1, length + 1):
            (gradient,) = torch.autograd.grad(half[t - 1, sequence].sum(), x, retain_graph=True)
            found = [s for s in range(1, STEPS + 1) if gradient[s - 1, sequence].any()]
            assert found == [s for s in range(1, length + 1) if told(s, t)]


DROPPED = 2
"""The step whose inputs are dropped, all units of them."""


def dropout_factors():
    factors = torch.full((SEQUENCES, STEPS, SIZES["embedding_size"]), 2.0, dtype=torch.float64)
    factors[:, DROPPED - 1] = 0
    return factors


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("guide_name", ["backward", "bidirectional", "residual", "mean-field"])
def test_in_training_the_encoder_of_srnn_reads_the_states_of_the_dropped_inputs(guide_name, form):
    model, guide = make(family="srnn", guide=guide_name, input_dropout=0.5)
    leaves, factors = leaves_of(model), dropout_factors()
    found = program_laws(model, guide, leaves, form, input_dropout=factors)
    for parameter in found["posterior"]:
        for of_step in parameter:
            inputs = {s for name, s in steps_read(of_step, leaves) if name == "u"}
            assert inputs == {s for s in range(1, STEPS + 1) if s != DROPPED}


@pytest.mark.parametrize("form", FORMS)
def test_with_all_inputs_dropped_the_posterior_of_srnn_depends_on_none(form):
    model, guide = make(family="srnn", input_dropout=0.999999)
    leaves = leaves_of(model)
    found = program_laws(model, guide, leaves, form, input_dropout=torch.zeros_like(dropout_factors()))
    check_reads(found["posterior"], "z=t-1 x>=t", leaves)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("transition", ["gru", "lstm"])
def test_the_encoder_of_srnn_reads_the_very_states_of_the_recursion(transition, form):
    model, guide = make(family="srnn", transition=transition, input_dropout=0.5)
    u, x, z = leaves_of(model)
    read = []
    guide.encoder.register_forward_pre_hook(lambda module, arguments: read.append(arguments[0]))
    batch, factors = batch_of(u, x), dropout_factors()
    given_path(guide, z, form, input_dropout=factors)(batch, form=form)
    with evaluating(model, guide):
        guide.encode(batch)
    in_training, in_evaluation = (each[..., SIZES["embedding_size"] :] for each in read)
    for found, embedded in (
        (in_training, model.embedding(u) * factors.transpose(0, 1)),
        (in_evaluation, model.embedding(u)),
    ):
        expected = model.transition.network(embedded)[0]
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(read[0][..., : SIZES["embedding_size"]], model.embedding(x))


@pytest.mark.parametrize("training", [True, False])
def test_encoding_by_itself_drops_no_input(training):
    model, guide = make(family="srnn", input_dropout=0.999999)
    model.train(training)
    guide.train(training)
    leaves = leaves_of(model)
    encoding = guide.encode(batch_of(leaves.u, leaves.x))
    check_reads([encoding], "u:all x>=t", leaves)


def initial_names(model):
    named = model.transition.named_parameters()
    return {name for name, value in named if name.rsplit(".", 1)[-1].startswith("initial") and value.numel()}


FIRST_STATES = [
    ({}, {"initial_state"}),
    ({"transition": "gru"}, {"initial_state"}),
    ({"transition": "cond-ln"}, {"initial_state"}),
    ({"num_layers": 2}, {"layers.0.initial_state", "layers.1.initial_state"}),
    ({"family": "storn"}, {"initial_state"}),
    ({"family": "vrnn"}, {"inner.initial_state"}),
    ({"family": "vrnn", "num_layers": 2}, {"inner.layers.0.initial_state", "inner.layers.1.initial_state"}),
    ({"family": "srnn"}, {"initial_network", "initial_latent"}),
    ({"family": "srnn", "transition": "lstm"}, {"initial_network", "initial_latent"}),
    ({"family": "dmm"}, {"initial_latent"}),
    ({"family": "rnn"}, {"initial_network"}),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("options", "names"), FIRST_STATES, ids=first_in_words(FIRST_STATES))
def test_a_learned_first_state_is_trained_all_of_it(options, names, form):
    model, guide = make(learn_initial_state=True, **options)
    assert initial_names(model) == names
    ZForcingELBO()(model, guide)(batch_of(*leaves_of(model)[:2]), form=form).backward()
    for name in names:
        parameter = model.transition.get_parameter(name)
        assert parameter.grad is not None
        assert (parameter.grad != 0).all(), name


@pytest.mark.parametrize(("options", "names"), FIRST_STATES, ids=first_in_words(FIRST_STATES))
def test_a_first_state_starts_at_zero_and_is_no_parameter_unless_asked_for(options, names):
    assert not initial_names(make(**options)[0])
    fresh = build(ModelConfig(**SIZES, learn_initial_state=True, **options), Observation("gaussian", WIDTH))[0]
    assert not any(fresh.transition.get_parameter(name).any() for name in names)


EMISSIONS = [
    ({}, True, {"feature": 8}),
    ({"family": "storn"}, True, {"feature": 8}),
    ({"family": "rnn"}, True, {"feature": 8}),
    ({"family": "vrnn"}, False, {"feature": 8 + LATENT}),
    ({"family": "srnn"}, False, {"feature": 8 + LATENT}),
    ({"family": "dmm"}, False, {"feature": LATENT}),
    ({"emission_skip": True}, False, {"feature": 8, "input": 6}),
    ({"family": "storn", "emission_skip": True}, False, {"feature": 8, "input": 6}),
    ({"family": "rnn", "emission_skip": True}, False, {"feature": 8, "input": 6}),
    ({"family": "vrnn", "emission_skip": True}, False, {"feature": 8 + LATENT, "input": 6}),
    ({"family": "srnn", "emission_skip": True}, False, {"feature": 8 + LATENT, "input": 6}),
    ({"family": "dmm", "emission_skip": True}, False, {"feature": LATENT}),
]


@pytest.mark.parametrize(("options", "linear", "sizes"), EMISSIONS, ids=first_in_words(EMISSIONS))
def test_which_emissions_have_a_hidden_layer(options, linear, sizes):
    emission = make("bernoulli", **options)[0].emission
    assert emission.sizes == sizes

    def scores(scale):
        fields = {name: scale * random(5, size, seed=size) for name, size in sizes.items()}
        return emission(Context(**fields)).base_dist.logits

    bend = scores(1) + scores(-1) - 2 * scores(0)
    assert (bend.abs() < 1e-12).all() if linear else (bend.abs() > 1e-6).any()
    widths = [layer.out_features for layer in emission.modules() if isinstance(layer, nn.Linear)]
    assert widths == ([WIDTH] if linear else [SIZES["mlp_size"], WIDTH])


def networks(model):
    return [type(each) for each in model.transition.modules() if isinstance(each, Transition | nn.RNNBase)]


LATENT_NETWORKS = {"": LSTMTransition, "lstm": LSTMTransition, "gru": GRUTransition, "cond-ln": LayerNormLSTMTransition}


@pytest.mark.parametrize("name", LATENT_NETWORKS)
@pytest.mark.parametrize(("family", "around"), [("zforcing", []), ("storn", []), ("vrnn", [DelayedTransition])])
def test_the_network_of_a_family_whose_network_reads_the_latent(family, around, name):
    network = LATENT_NETWORKS[name]
    assert networks(make(family=family, transition=name)[0]) == [*around, network]
    stacked = make(family=family, transition=name, num_layers=3)[0]
    assert networks(stacked) == [*around, StackedTransition, network, network, network]


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize(
    ("family", "name", "network"),
    [
        ("srnn", "", nn.GRU),
        ("srnn", "gru", nn.GRU),
        ("srnn", "lstm", nn.LSTM),
        ("rnn", "", nn.LSTM),
        ("rnn", "lstm", nn.LSTM),
        ("rnn", "gru", nn.GRU),
    ],
)
def test_the_network_of_a_family_whose_network_reads_no_latent(family, name, network, num_layers):
    model, _ = make(family=family, transition=name, num_layers=num_layers)
    assert networks(model) == [DeterministicTransition, network]
    found = model.transition.network
    assert (found.num_layers, found.input_size, found.hidden_size) == (num_layers, 6, 8)


def test_dmm_has_no_network():
    assert networks(make(family="dmm")[0]) == [MarkovTransition]


@pytest.mark.parametrize("transition_mlp", [True, False])
def test_the_hidden_layer_on_the_latent_is_in_the_first_layer_alone(transition_mlp):
    model, _ = make(num_layers=2, transition_mlp=transition_mlp)
    first, second = (type(layer.from_latent) for layer in model.transition.layers)
    assert first is (nn.Sequential if transition_mlp else nn.Linear)
    assert second is nn.Linear


OWN_PARTS = {
    "zforcing": (DiagonalGaussian, {"hidden"}, DiagonalGaussian, {"hidden", "encoding"}, BackwardEncoder),
    "storn": (StandardNormal, set(), DiagonalGaussian, {"encoding"}, ForwardEncoder),
    "vrnn": (DiagonalGaussian, {"hidden"}, DiagonalGaussian, {"hidden", "encoding"}, TargetEncoder),
    "srnn": (
        DiagonalGaussian,
        {"hidden", "latent"},
        ResidualGaussian,
        {"latent", "encoding", "prior"},
        BackwardEncoder,
    ),
    "dmm": (GatedTransition, {"latent"}, DiagonalGaussian, {"latent", "encoding"}, BackwardEncoder),
    "rnn": (StandardNormal, set(), PriorPosterior, {"prior"}, type(None)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_own_prior_and_guide_of_a_family(family):
    model, guide = make(family=family)
    prior, prior_reads, posterior, posterior_reads, encoder = OWN_PARTS[family]
    assert (type(model.prior), set(model.prior.reads)) == (prior, prior_reads)
    assert (type(guide.posterior), set(guide.posterior.reads)) == (posterior, posterior_reads)
    assert type(guide.encoder) is encoder
    assert guide.encoder_reads == (("hidden",) if family == "srnn" else ())


@pytest.mark.parametrize(
    ("name", "kind", "reads"),
    [
        ("learned", DiagonalGaussian, {"hidden"}),
        ("learned-input", DiagonalGaussian, {"hidden", "input"}),
        ("standard-normal", StandardNormal, set()),
        ("transition", GatedTransition, {"latent"}),
        ("mixture", GaussianMixture, {"hidden"}),
        ("flow", CouplingFlow, {"hidden"}),
    ],
)
def test_a_priors_name_makes_what_it_says(name, kind, reads):
    prior = make(prior=name)[0].prior
    assert (type(prior), set(prior.reads)) == (kind, reads)


ENCODER_KINDS: dict[str, type[Encoder]] = {
    "backward": BackwardEncoder,
    "forward": ForwardEncoder,
    "bidirectional": BidirectionalEncoder,
    "none": TargetEncoder,
}
POSTERIOR_KINDS = {
    "gaussian": (DiagonalGaussian, {"hidden", "encoding"}),
    "mean-field": (DiagonalGaussian, {"encoding"}),
    "residual": (ResidualGaussian, {"hidden", "encoding", "prior"}),
    "flow": (CouplingFlow, {"hidden", "encoding"}),
}


@pytest.mark.parametrize("posterior", POSTERIOR_KINDS)
@pytest.mark.parametrize("encoder", ENCODER_KINDS)
def test_a_guides_name_makes_what_it_says(encoder, posterior):
    _, guide = make(guide=f"{encoder}-{posterior}")
    kind, reads = POSTERIOR_KINDS[posterior]
    assert type(guide.encoder) is ENCODER_KINDS[encoder]
    assert (type(guide.posterior), set(guide.posterior.reads)) == (kind, reads)


def test_all_encoders_and_posteriors_are_named_here():
    assert set(ENCODER_KINDS) == set(ENCODERS)
    assert {*POSTERIOR_KINDS, "prior"} == set(POSTERIORS)


@pytest.mark.parametrize("encoder", ["", *(f"{name}-" for name in ENCODER_KINDS)])
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "rnn"])
def test_a_residual_guide_over_a_prior_that_is_a_flow_is_refused(family, encoder):
    with pytest.raises(InputError, match="adds to the mean of a Gaussian prior, and the prior flow is none"):
        ModelConfig(**SIZES, family=family, prior="flow", guide=f"{encoder}residual")


@pytest.mark.parametrize("name", ["flow", "mixture"])
def test_a_residual_posterior_refuses_a_prior_that_is_no_gaussian(name):
    prior, posterior = make(prior=name)[0].prior, make(guide="residual")[1].posterior
    context = Context(hidden=random(SEQUENCES, 8), encoding=random(SEQUENCES, 8))
    with pytest.raises(ValueError, match=r"a residual posterior adds to .* Gaussian prior"):
        posterior(context._replace(prior=prior(context)))


PRIOR_READERS = [
    {"guide": "residual"},
    {"guide": "residual", "prior": "learned-input"},
    {"guide": "residual", "prior": "transition"},
    {"guide": "prior"},
    {"family": "storn", "guide": "residual"},
    {"family": "vrnn", "guide": "residual"},
    {"family": "srnn"},
    {"family": "dmm", "guide": "residual"},
]


@pytest.mark.parametrize("options", PRIOR_READERS, ids=in_words)
def test_a_guide_that_reads_the_prior_scores_a_path_that_it_did_not_draw(options):
    model, guide = make(**options)
    u, x, z = leaves_of(model)
    found = []
    for form in FORMS:
        trace = poutine.trace(given_path(guide, z, form)).get_trace(batch_of(u, x), form=form)
        trace.compute_log_prob()
        sites = ["z"] if form == "path" else [f"z_{t}" for t in range(1, STEPS + 1)]
        score = sum(trace.nodes[site]["log_prob"] for site in sites)
        found.append([score, *torch.autograd.grad(score.sum(), [z, *model.transition.parameters()], allow_unused=True)])
    for step, path in zip(*found, strict=True):
        assert (step is None) == (path is None)
        assert step is None or torch.allclose(path, step, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", PRIOR_READERS, ids=in_words)
def test_a_guide_that_reads_the_prior_scores_another_path_than_the_one_it_drew(options):
    model, guide = make(**options)
    u, x, z = leaves_of(model)
    batch = batch_of(u, x)
    drawn = poutine.trace(guide).get_trace(batch, form="path").nodes["z"]["fn"]
    anew = poutine.trace(given_path(guide, z, "path")).get_trace(batch, form="path").nodes["z"]["fn"]
    path = z.transpose(0, 1)
    assert torch.allclose(drawn.log_prob(path), anew.log_prob(path), rtol=1e-12)


@pytest.mark.parametrize("options", PRIOR_READERS, ids=in_words)
def test_the_shape_of_a_path_is_known_before_any_is_drawn(options):
    model, guide = make(**options)
    batch = batch_of(*leaves_of(model)[:2])
    law = PathDistribution(model.path_states(batch), guide.posterior, batch.mask, Context(encoding=guide.encode(batch)))
    assert law.event_shape == (STEPS, LATENT)
    assert law.batch_shape == (SEQUENCES,)
    assert law.states.path is None
    assert law.expand((5, SEQUENCES)).event_shape == (STEPS, LATENT)


@pytest.mark.parametrize("options", PRIOR_READERS, ids=in_words)
def test_the_law_of_the_first_step_is_that_of_any_path(options):
    model, guide = make(**options)
    leaves = leaves_of(model)
    batch = batch_of(leaves.u, leaves.x)
    beyond = Context(encoding=guide.encode(batch))
    found = parameters_of(model.path_states(batch).first_law(guide.posterior, beyond))
    expected = program_laws(model, guide, leaves, "step")["posterior"]
    for ours, of_steps in zip(found, expected, strict=True):
        assert torch.allclose(ours.expand_as(of_steps[0]), of_steps[0], rtol=1e-12, atol=1e-14)
