"""The importance-weighted objectives against Pyro's, against the evaluator, and against each other."""

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, RenyiELBO, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

from tests.tiny import all_parameters, tiny_batch, tiny_pair
from zf_pyro import ZForcingELBO, ZForcingIWAE, importance, importance_weights
from zf_pyro.importance import held_posterior
from zf_pyro.noise import noise
from zf_pyro.parts import FAMILIES
from zf_pyro.scopes import local_parameters
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms


@pytest.fixture(autouse=True)
def _local():
    with local_parameters(), pyro.validation_enabled():
        yield


def gradients(objective, model, guide, form="path", seed=1, copies=1):
    """The loss of a batch, summed over copies of it with draws of their own, and its gradients."""
    for parameter in all_parameters(model, guide).values():
        parameter.grad = None
    with noise(seed):
        loss = objective.loss_and_grads(model, guide, tiny_batch().repeat_particles(copies), form=form)
    return loss, {name: p.grad for name, p in all_parameters(model, guide).items() if p.grad is not None}


@pytest.mark.parametrize("form", ["step", "path"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_pyros_renyi_objective_on_the_same_draws(family, form):
    model, guide = tiny_pair(family=family)
    loss, ours = gradients(ZForcingIWAE(num_particles=4), model, guide, form)
    renyi = RenyiELBO(alpha=0, num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    expected, theirs = gradients(renyi, model, guide, form)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        assert torch.allclose(gradient, theirs[name], rtol=1e-9, atol=1e-11), name


def test_it_is_the_evaluators_bound():
    model, guide = tiny_pair()
    with noise(2):
        weights = importance_weights(model, guide, tiny_batch(), 6).log_weights
    with noise(2):
        loss = ZForcingIWAE(num_particles=6).loss(model, guide, tiny_batch(), form="path")
    assert -loss == pytest.approx((weights.logsumexp(0) - math.log(6)).sum().item(), rel=1e-12)


def test_one_particle_makes_it_the_elbo():
    model, guide = tiny_pair()
    (loss, ours), (expected, theirs) = (
        gradients(objective, model, guide) for objective in (ZForcingIWAE(num_particles=1), Trace_ELBO())
    )
    assert loss == pytest.approx(expected, rel=1e-12)
    assert all(torch.allclose(gradient, theirs[name], rtol=1e-9, atol=1e-11) for name, gradient in ours.items())


@pytest.mark.parametrize("gamma", [1.0, 0.4, 0.0])
def test_weights_are_annealed_and_the_added_terms_are_means_over_particles(gamma):
    model, guide = tiny_pair()
    batch = tiny_batch()
    objective = ZForcingIWAE(0.3, 0.7, gamma, count=3, num_particles=4)
    with noise(2):
        loss = objective.loss(model, guide, batch, form="path")
    with noise(2):
        weights = importance_weights(model, guide, batch, 4)
    annealed = weights.log_weights + (1 - gamma) * weights.log_ratios
    terms = objective.last_terms
    bound = (annealed.logsumexp(0) - math.log(4)).sum() + 0.3 * terms.auxiliary + 0.7 * terms.backward
    assert -3 * loss == pytest.approx(bound.item(), rel=1e-11)
    kl = weights.log_ratios.mean(0).sum().item()
    assert (terms.kl is None) if gamma == 0 else (terms.kl.item() == pytest.approx(kl, rel=1e-11))
    assert terms.reconstruction.item() == pytest.approx(weights.log_weights.mean(0).sum().item() + kl, rel=1e-11)
    elbo = ZForcingELBO(0.3, 0.7, num_particles=4, vectorize_particles=True)
    with noise(2):
        elbo.loss(model, guide, batch, form="path")
    assert terms.auxiliary.item() == pytest.approx(elbo.last_terms.auxiliary.item(), rel=1e-11)
    assert terms.backward.item() == pytest.approx(elbo.last_terms.backward.item(), rel=1e-11)


PAIRS = [{}, {"family": "srnn"}, {"guide": "filtering", "prior": "flow"}, {"guide": "flow"}]


@pytest.mark.parametrize("options", PAIRS, ids=str)
def test_the_model_keeps_its_gradient_and_the_loss_its_value_when_the_guides_is_reparametrised_twice(options):
    model, guide = tiny_pair(**options)
    (loss, plain), (same, doubly) = (
        gradients(ZForcingIWAE(num_particles=4, doubly=doubly), model, guide) for doubly in (False, True)
    )
    assert same == loss
    assert doubly.keys() == plain.keys()
    for name, gradient in plain.items():
        assert torch.equal(gradient, doubly[name]) == name.startswith("0."), name


@pytest.mark.parametrize(("options", "gamma"), [({}, 1.0), ({}, 0.5), *((pair, 1.0) for pair in PAIRS[1:])], ids=str)
def test_twice_reparametrised_gradients_have_the_same_mean_and_less_noise(options, gamma):
    model, guide = tiny_pair(**options)
    samples = {}
    for doubly in (False, True):
        objective = ZForcingIWAE(gamma=gamma, num_particles=4, doubly=doubly)
        seeds = range(10_000 * doubly, 10_000 * doubly + 40)
        rows = [gradients(objective, model, guide, seed=seed, copies=10)[1] for seed in seeds]
        names = [name for name in rows[0] if name.startswith("1.")]
        samples[doubly] = torch.stack([torch.cat([row[name].flatten() for name in names]) for row in rows])
    plain, twice = samples[False], samples[True]
    directions = torch.randn(20, plain.shape[1], dtype=plain.dtype, generator=torch.Generator().manual_seed(0))
    for direction in directions:
        a, b = plain @ direction, twice @ direction
        assert abs(a.mean() - b.mean()) < 4 * ((a.var() + b.var()) / len(rows)).sqrt()
    assert twice.var(0).sum() < 0.8 * plain.var(0).sum()


def test_the_twice_reparametrised_gradient_by_its_formula():
    """Of a posterior parameter, with one step: v_k^2 times what flows through z_k, by finite differences."""
    model, guide = tiny_pair()
    batch = tiny_batch((1, 1))
    found = one_step(model, guide, batch)
    shift = torch.zeros_like(guide.posterior.network[-1].bias)
    shift[0] = 1.0
    bias = guide.posterior.network[-1].bias
    below, at, above = (log_weights_at(model, guide, batch, step * shift) for step in (-1e-5, 0.0, 1e-5))
    expected = -(at.softmax(0).square() * (above - below) / 2e-5).sum()
    assert found[id(bias)][0].item() == pytest.approx(expected.item(), rel=1e-5)


def one_step(model, guide, batch):
    for parameter in all_parameters(model, guide).values():
        parameter.grad = None
    with noise(1):
        ZForcingIWAE(num_particles=3, doubly=True).loss_and_grads(model, guide, batch, form="path")
    return {id(p): p.grad for p in all_parameters(model, guide).values()}


def log_weights_at(model, guide, batch, shift):
    """log w with z drawn from the shifted posterior, and scored by the one that is not."""
    bias = guide.posterior.network[-1].bias
    with torch.no_grad():
        bias += shift
        with noise(1):
            drawn = poutine.trace(plate(guide)).get_trace(batch, form="path").nodes["z"]["value"]
        bias -= shift
        data = {"z": drawn}
        scored = poutine.trace(poutine.condition(plate(guide), data=data)).get_trace(batch, form="path")
        joint = poutine.trace(poutine.condition(plate(model), data=data)).get_trace(batch, form="path")
        log_q = scored.nodes["z"]["fn"].log_prob(drawn)
        log_p = joint.nodes["z"]["fn"].log_prob(drawn) + joint.nodes["x"]["fn"].log_prob(joint.nodes["x"]["value"])
    return log_p - log_q


def plate(program):
    def run(*args, **kwargs):
        with pyro.plate("particles", 3, dim=-2):
            return program(*args, **kwargs)

    return run


def test_dreg_asks_for_the_path_form():
    model, guide = tiny_pair()
    with pytest.raises(ValueError, match="path form, form='path'"):
        ZForcingIWAE(doubly=True)(model, guide)(tiny_batch(), form="step")


@pytest.mark.parametrize("doubly", [False, True])
def test_svi_trains_by_it(doubly):
    pyro.clear_param_store()
    model, guide = tiny_pair(input_dropout=0.2)
    before = {name: p.detach().clone() for name, p in all_parameters(model, guide).items()}
    objective = ZForcingIWAE(0.1, 0.1, num_particles=3, doubly=doubly)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), objective)
    losses = [svi.step(tiny_batch((5, 4, 3, 5, 2, 5)), form="path") for _ in range(30)]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert [n for n, p in all_parameters(model, guide).items() if torch.equal(p, before[n])] == []
    assert objective.step == 30


@pytest.mark.parametrize("options", [*PAIRS, {"guide": "residual"}, {"guide": "mean-field"}], ids=str)
def test_the_held_posterior_has_no_gradient_but_by_the_path(options):
    _, guide = tiny_pair(**options)
    with skip_terms(AUXILIARY, BACKWARD), pyro.plate("particles", 3, dim=-2):
        trace = poutine.trace(guide).get_trace(tiny_batch(), form="path")
    site = trace.nodes["z"]
    score = held_posterior(trace)
    assert torch.allclose(score, site["fn"].log_prob(site["value"]), rtol=1e-12)
    site["fn"].states.path = None
    site["value"] = site["value"].detach()
    total, parameters = held_posterior(trace).sum(), list(guide.parameters())
    held = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else ()
    live = torch.autograd.grad(site["fn"].log_prob(site["value"]).sum(), parameters, allow_unused=True)
    assert all(gradient is None or not gradient.any() for gradient in held)
    assert any(gradient is not None and gradient.any() for gradient in live)


def test_the_added_terms_train_their_heads_as_ever():
    model, guide = tiny_pair()
    found = [
        gradients(ZForcingIWAE(0.3, 0.7, num_particles=4, doubly=doubly), model, guide)[1] for doubly in (False, True)
    ]
    heads = [name for name in found[0] if name.startswith(("1.auxiliary", "1.backward"))]
    assert heads
    for name in heads:
        assert found[0][name].any()
        assert torch.allclose(found[0][name], found[1][name], rtol=1e-12), name


def test_a_part_of_both_programs_keeps_the_models_gradient():
    model, guide = tiny_pair()
    guide.embedding = model.embedding
    plain, doubly = (gradients(ZForcingIWAE(num_particles=4, doubly=d), model, guide)[1] for d in (False, True))
    assert torch.allclose(plain["0.embedding.weight"], doubly["0.embedding.weight"], rtol=1e-12)


@pytest.mark.filterwarnings("ignore:.*not registered in the param store")
@pytest.mark.parametrize("still", [0, 1])
def test_a_program_without_gradients_is_left_alone(still):
    model, guide = tiny_pair()
    (model, guide)[still].requires_grad_(False)
    _, found = gradients(ZForcingIWAE(num_particles=4, doubly=True), model, guide)
    assert found
    assert not any(name.startswith(f"{still}.") for name in found)


def test_an_autoguides_own_sites_count():
    model, _ = tiny_pair()
    guide, batch = AutoNormal(model), tiny_batch((4, 4))
    guide(batch)
    torch.manual_seed(0)
    ours = ZForcingIWAE(num_particles=1).loss(model, guide, batch)
    torch.manual_seed(0)
    assert ours == pytest.approx(Trace_ELBO().loss(model, guide, batch), rel=1e-6)


def test_a_posterior_without_reparametrisation_is_refused():
    model, guide = tiny_pair(prior="mixture")
    guide.posterior = model.prior
    with pytest.raises(NotImplementedError, match="needs reparametrised latent variables, and 'z' is not"):
        ZForcingIWAE()(model, guide)(tiny_batch(), form="path")


def test_without_gradients_only_the_loss_is_computed(monkeypatch):
    monkeypatch.setattr(importance, "held_posterior", None)
    model, guide = tiny_pair()
    assert math.isfinite(ZForcingIWAE(num_particles=2, doubly=True).loss(model, guide, tiny_batch(), form="path"))
