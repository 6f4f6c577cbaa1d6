"""Every family, guide, prior and transition: shapes, gradients, saving, the two forms, and the order of the bounds."""

import io
from itertools import product

import pyro
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine

from tests.tiny import SIZES, VOCABULARY, all_parameters, tiny_batch
from zf_pyro import InputError, SequenceBatch, ZForcingELBO, importance_weights, loops
from zf_pyro.build import build
from zf_pyro.config import ModelConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.noise import noise
from zf_pyro.parts import ENCODERS, FAMILIES, GUIDES, POSTERIORS, PRIORS, TRANSITIONS
from zf_pyro.scopes import evaluating, local_parameters

BITS = 5
OBSERVATIONS = {"words": Observation("categorical", VOCABULARY), "bits": Observation("bernoulli", BITS)}


@pytest.fixture(autouse=True)
def _local(monkeypatch):
    monkeypatch.setattr(loops, "LARGE", 0)
    with local_parameters(), pyro.validation_enabled():
        yield


def batch_of(data):
    if data == "words":
        return tiny_batch((4, 2))
    generator = torch.Generator().manual_seed(0)
    bits = [torch.randint(0, 2, (n, BITS), generator=generator).double() for n in (4, 2)]
    batch = SequenceBatch.from_sequences(bits)
    return SequenceBatch(batch.inputs.double(), batch.targets.double(), batch.mask)


def make(data, seed=0, **options):
    """A pair in double precision whose weights are larger than at initialisation, in training mode with dropout."""
    torch.manual_seed(seed)
    config = ModelConfig(**{**SIZES, "input_dropout": 0.3, "mixture_components": 3, "flow_layers": 2, **options})
    model, guide = (each.double() for each in build(config, OBSERVATIONS[data]))
    for module in (model, guide):
        for parameter in module.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model, guide, config


def objective(config):
    if not config.parts.runs_backward:
        return ZForcingELBO(gamma=0.6)
    return ZForcingELBO(0.3, 0.0 if config.family == "srnn" else 0.7, 0.6)


def loss_and_gradients(model, guide, config, batch, form):
    for parameter in all_parameters(model, guide).values():
        parameter.grad = None
    torch.manual_seed(3)
    with noise(1):
        loss = objective(config)(model, guide)(batch, form=form)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in all_parameters(model, guide).items()}


def check_shapes(model, guide, config, batch):
    steps, sequences = batch.mask.shape
    latent = 0 if config.family == "rnn" else config.latent_size
    for form in ("step", "path"):
        assert guide(batch, form=form).shape == (steps, sequences, latent)
        assert model(batch, form=form).shape == batch.targets.shape
    with evaluating(model):
        drawn = model(SequenceBatch.start(batch.inputs[0], 3))
    assert drawn.shape == (3, *batch.targets.shape[1:])


def check_forms_and_gradients(model, guide, config, batch):
    (loss, gradients), (other, others) = (
        loss_and_gradients(model, guide, config, batch, form) for form in ("step", "path")
    )
    assert other == pytest.approx(loss, rel=1e-12)
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert gradient.any(), name
        error = (gradient - others[name]).abs().max()
        assert error <= 1e-10 * gradient.abs().max() + 1e-300, name


def check_bounds(model, guide, config, batch):
    weights = []
    for form in ("step", "path"):
        with noise(2):
            weights.append(importance_weights(model, guide, batch, 3, max_rows=4, form=form).log_weights)
    assert torch.allclose(*weights, rtol=1e-11, atol=1e-11)
    elbo, bound = weights[0].mean(0), weights[0].logsumexp(0) - torch.tensor(3.0).double().log()
    assert (elbo <= bound + 1e-12 * bound.abs()).all()
    assert bound.isfinite().all()
    assert bool((elbo < bound).all()) == (config.family != "rnn")


def check_saving(model, guide, config, data, batch):
    file = io.BytesIO()
    torch.save([model.state_dict(), guide.state_dict()], file)
    file.seek(0)
    other, other_guide, _ = make(data, seed=1, **{name: getattr(config, name) for name in CHOICES})
    for module, state in zip((other, other_guide), torch.load(file, weights_only=True), strict=True):
        module.load_state_dict(state)
    found = [importance_weights_of(*pair, batch) for pair in ((model, guide), (other, other_guide))]
    assert torch.equal(*found)


def importance_weights_of(model, guide, batch):
    torch.manual_seed(5)
    return importance_weights(model, guide, batch, 2).log_weights


CHOICES = ("family", "guide", "prior", "transition", "num_layers")


def check_parts(data, **options):
    model, guide, config = make(data, **options)
    batch = batch_of(data)
    check_shapes(model, guide, config, batch)
    check_forms_and_gradients(model, guide, config, batch)
    check_bounds(model, guide, config, batch)
    check_saving(model, guide, config, data, batch)


def fits(options):
    try:
        ModelConfig(**SIZES, **options)
    except InputError:
        return False
    return True


PAIRS = [f"{encoder}-{posterior}" for encoder, posterior in product(ENCODERS, POSTERIORS)]
IN_ALL_DATA = [
    *({"family": name} for name in FAMILIES),
    *({"family": name, "num_layers": 2} for name in FAMILIES if name != "dmm"),
]
SINGLES = [
    *({"guide": name} for name in GUIDES if fits({"guide": name})),
    *({"prior": name} for name in PRIORS),
    *({"transition": name} for name in TRANSITIONS),
]
GRID = [
    options
    for family, guide, prior, transition, num_layers in product(
        FAMILIES, ["", *PAIRS], ["", *PRIORS], ["", *TRANSITIONS], (1, 2)
    )
    for options in [dict(zip(CHOICES, (family, guide, prior, transition, num_layers), strict=True))]
    if fits(options)
]


def in_words(options):
    return "-".join(str(value) for value in options.values() if value) or "default"


@pytest.mark.parametrize("data", OBSERVATIONS)
@pytest.mark.parametrize("options", IN_ALL_DATA, ids=in_words)
def test_each_family_in_all_data(options, data):
    check_parts(data, **options)


@pytest.mark.parametrize("options", SINGLES, ids=in_words)
def test_each_part_with_the_others_at_default(options):
    check_parts("bits", **options)


@settings(max_examples=30, deadline=None)
@given(options=st.sampled_from(GRID), data=st.sampled_from(sorted(OBSERVATIONS)))
def test_parts_drawn_together(options, data):
    pyro.clear_param_store()
    check_parts(data, **options)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_all_parts_with_all_others(family):
    """Every fit of encoder, posterior, prior and transition, in one layer, named by their names."""
    chosen = [options for options in GRID if options["family"] == family and options["num_layers"] == 1]
    explicit = [options for options in chosen if all(options[name] for name in CHOICES)] or chosen
    for options in explicit:
        pyro.clear_param_store()
        check_parts("bits", **options)


def test_the_grid_holds_what_it_should():
    count = {family: sum(options["family"] == family for options in GRID) for family in FAMILIES}
    assert count["rnn"] == 6
    for family in ("zforcing", "storn", "vrnn", "srnn", "dmm"):
        chosen = [options for options in GRID if options["family"] == family]
        assert {options["prior"] for options in chosen} == {"", *PRIORS}
        assert {options["transition"] for options in chosen} == {"", *FAMILIES[family].transitions}
        guides = {options["guide"] for options in chosen}
        assert guides == {"", "none-prior", *(pair for pair in PAIRS if not pair.endswith("-prior"))}


@pytest.mark.parametrize(("guide", "family"), [("residual", "srnn"), ("residual", "zforcing"), ("prior", "vrnn")])
def test_the_model_takes_over_the_prior_that_the_guide_evaluated(guide, family):
    model, guide, config = make("bits", family=family, guide=guide)
    evaluated = []
    law = model.prior.law
    model.prior.law = lambda parameters: evaluated.append(parameters.shape) or law(parameters)
    objective(config)(model, guide)(batch_of("bits"), form="path")
    assert [len(shape) for shape in evaluated] == [2] * 4  # a step at a time in the guide's loop, and never again


def test_a_prior_of_another_model_is_not_taken_over():
    model, guide, _ = make("bits", family="srnn")
    batch = batch_of("bits")
    trace = poutine.trace(guide).get_trace(batch, form="path")
    other = make("bits", seed=1, family="srnn")[0]
    model.prior = other.prior
    found = poutine.trace(poutine.replay(model, trace=trace)).get_trace(batch, form="path")
    data = {name: trace.nodes[name]["value"] for name in ("z", "input_dropout")}
    expected = poutine.trace(poutine.condition(model, data=data)).get_trace(batch, form="path")
    assert found.log_prob_sum().item() == pytest.approx(expected.log_prob_sum().item(), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"family": "zforcin"}, "no family 'zforcin'; near names: zforcing, storn; or package.module:Name"),
        ({"guide": "x"}, "no guide 'x'; there are: backward, "),
        ({"prior": "normal"}, "no prior 'normal'; near names: standard-normal"),
        ({"transition": "rnn"}, "no transition 'rnn'; there are: cond-ln, gru, lstm"),
        ({"family": "rnn", "prior": "learned"}, "rnn has no latent variable"),
        ({"family": "rnn", "guide": "backward"}, "rnn has no latent variable"),
        ({"family": "dmm", "transition": "lstm"}, "dmm has no recurrent network, so it takes no transition"),
        ({"family": "dmm", "num_layers": 2}, "dmm has no recurrent network, so num_layers must be 1"),
        ({"family": "dmm", "auxiliary_reads": "latent+hidden"}, "dmm has no h_t for the auxiliary to read"),
        (
            {"family": "srnn", "transition": "cond-ln"},
            "the network of srnn reads no z_t, so it is one of PyTorch's own",
        ),
        ({"family": "srnn", "transition": "mine:Network"}, "the network of srnn reads no z_t"),
        (
            {"guide": "residual", "prior": "mixture"},
            "adds to the mean of a Gaussian prior, and the prior mixture is none",
        ),
        ({"guide": "prior", "prior": "mixture"}, "draws from a mixture have no gradient"),
        ({"guide": "backward-prior"}, "take the guide prior"),
        ({"guide": "flow", "latent_size": 1}, "latent_size must be above 1"),
        ({"prior": "flow", "latent_size": 1}, "latent_size must be above 1"),
        ({"family": "mine:Family", "prior": "learned"}, "brings its own transition, prior and guide"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_with_the_reason(options, reason):
    with pytest.raises(InputError) as caught:
        ModelConfig(**options)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
