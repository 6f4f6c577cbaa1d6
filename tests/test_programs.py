"""The two programs under Pyro's own machinery."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO

from tests.tiny import VOCABULARY, all_parameters, tiny_batch, tiny_pair
from zf_pyro import Guide, SequenceBatch, ZForcingELBO
from zf_pyro.scopes import evaluating, local_parameters


@pytest.fixture(autouse=True)
def _fresh_store():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    with pyro.validation_enabled():
        yield
    pyro.clear_param_store()


def sample_sites(program, *args):
    trace = poutine.trace(program).get_trace(*args)
    return {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}


def test_sites_of_the_model_are_one_latent_and_one_value_a_step_in_one_plate():
    model, _ = tiny_pair()
    batch = tiny_batch()
    sites = sample_sites(model, batch)
    steps = range(1, batch.num_steps + 1)
    assert set(sites) == {"sequences", *(f"z_{t}" for t in steps), *(f"x_{t}" for t in steps)}
    for t in steps:
        assert sites[f"z_{t}"]["value"].shape == (3, 3)
        assert torch.equal(sites[f"x_{t}"]["value"], batch.targets[t - 1])
        assert sites[f"x_{t}"]["is_observed"]
        assert [frame.name for frame in sites[f"z_{t}"]["cond_indep_stack"] if frame.vectorized] == ["sequences"]


def test_guide_samples_the_latent_sites_of_the_model():
    model, guide = tiny_pair()
    batch = tiny_batch()
    latent = {name for name, site in sample_sites(guide, batch).items() if not site["is_observed"]}
    unobserved = {name for name, site in sample_sites(model, batch).items() if not site["is_observed"]}
    assert latent - {"sequences"} == unobserved - {"sequences"}


def test_padding_is_masked_out_of_both_programs():
    model, guide = tiny_pair()
    batch = tiny_batch()
    guide_trace = poutine.trace(guide).get_trace(batch)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch)
    for trace in (guide_trace, model_trace):
        trace.compute_log_prob()
        for t in range(1, batch.num_steps + 1):
            for name in (f"z_{t}", f"x_{t}"):
                if name in trace.nodes:
                    real = trace.nodes[name]["log_prob"] != 0
                    assert torch.equal(real, batch.mask[t - 1]), name


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceMeanField_ELBO, ZForcingELBO])
@pytest.mark.parametrize("vectorize", [False, True])
def test_objectives_run_with_particles_dropout_and_a_finite_gradient(objective, vectorize):
    model, guide = tiny_pair(input_dropout=0.3)
    kinds = {"num_particles": 3, "vectorize_particles": vectorize}
    with local_parameters():
        objective(**kinds)(model, guide)(tiny_batch()).backward()
    gradients = [p.grad for p in all_parameters(model, guide).values() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceMeanField_ELBO])
def test_stock_objectives_do_not_see_the_terms_of_the_guide(objective):
    model, guide = tiny_pair()
    bare = Guide(model, guide.encoder, guide.posterior, name="bare")
    losses = []
    for each in (guide, bare):
        pyro.set_rng_seed(1)
        with local_parameters():
            losses.append(objective().loss(model, each, tiny_batch()))
    assert losses[0] == losses[1]


def test_vectorized_particles_average_what_single_ones_estimate():
    model, guide = tiny_pair()
    batch = tiny_batch()
    singles = torch.tensor([Trace_ELBO().loss(model, guide, batch) for _ in range(400)])
    vectorized = Trace_ELBO(num_particles=4000, vectorize_particles=True).loss(model, guide, batch)
    error = singles.std() / 400**0.5
    assert abs(vectorized - singles.mean()) < 4 * error * (1 + 400 / 4000) ** 0.5


def test_svi_moves_every_parameter():
    model, guide = tiny_pair(input_dropout=0.2)
    before = {name: p.detach().clone() for name, p in all_parameters(model, guide).items()}
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), ZForcingELBO(alpha=0.1, beta=0.1))
    for _ in range(3):
        svi.step(tiny_batch((5, 4, 3, 5, 2, 5), seed=_))
    unmoved = [n for n, p in all_parameters(model, guide).items() if torch.equal(p, before[n])]
    assert unmoved == []


def test_two_guides_on_one_used_model_train_apart():
    model, first = tiny_pair(seed=0)
    SVI(model, first, pyro.optim.Adam({"lr": 0.01}), ZForcingELBO(0.1, 0.1)).step(tiny_batch())
    _, other = tiny_pair(seed=1)
    second = Guide(
        model, other.encoder, other.posterior, auxiliary=other.auxiliary, backward=other.backward, name="second"
    )
    kept = {name: p.detach().clone() for name, p in first.named_parameters()}
    before = {name: p.detach().clone() for name, p in second.named_parameters()}
    SVI(model, second, pyro.optim.Adam({"lr": 0.01}), ZForcingELBO(0.1, 0.1)).step(tiny_batch())
    assert all(torch.equal(p, kept[name]) for name, p in first.named_parameters())
    assert [name for name, p in second.named_parameters() if torch.equal(p, before[name])] == []


def test_a_second_pair_of_the_same_names_is_refused_under_svi():
    for seed in (0, 1):
        model, guide = tiny_pair(seed=seed)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), ZForcingELBO())
        if seed == 0:
            svi.step(tiny_batch())
    with pytest.raises(ValueError, match="another program named 'guide'"):
        svi.step(tiny_batch())
    pyro.clear_param_store()
    svi.step(tiny_batch())


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceMeanField_ELBO])
def test_svi_trains_by_stock_objectives(objective):
    model, guide = tiny_pair(input_dropout=0.2)
    before = {name: p.detach().clone() for name, p in all_parameters(model, guide).items()}
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), objective())
    losses = [svi.step(tiny_batch((5, 4, 3, 5, 2, 5), seed=0)) for _ in range(40)]
    assert sum(losses[-10:]) < sum(losses[:10])
    still = {name for name, p in all_parameters(model, guide).items() if torch.equal(p, before[name])}
    assert still == {name for name in before if name.startswith(("1.auxiliary", "1.backward"))}


def test_evaluation_restores_the_mode_of_every_part():
    model, guide = tiny_pair()
    model.prior.eval()
    with evaluating(model, guide):
        assert not any(part.training for part in (*model.modules(), *guide.modules()))
    assert model.training
    assert model.emission.training
    assert not model.prior.training


def test_the_model_is_no_submodule_of_its_guide():
    model, guide = tiny_pair()
    assert guide.model is model
    assert not {id(p) for p in model.parameters()} & {id(p) for p in guide.parameters()}
    shared = {name for name, _ in model.named_children()} & {name for name, _ in guide.named_children()}
    own = tiny_pair(share_embedding=False)[1]
    assert "embedding" in dict(own.named_children())
    assert shared <= {"embedding"}


def test_equal_attribute_names_do_not_collide_under_svi():
    model, guide = tiny_pair(share_embedding=False)
    before = guide.embedding.weight.detach().clone(), model.embedding.weight.detach().clone()
    SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), ZForcingELBO(0.1, 0.1)).step(tiny_batch())
    assert not torch.equal(guide.embedding.weight, before[0])
    assert not torch.equal(model.embedding.weight, before[1])


def test_modules_and_losses_work_under_module_local_parameters_too():
    with pyro.settings.context(module_local_params=True):
        model, guide = tiny_pair()
        ZForcingELBO(0.1, 0.1)(model, guide)(tiny_batch()).backward()
    assert all(p.grad is not None for p in all_parameters(model, guide).values())


def test_condition_replaces_what_the_next_step_sees():
    model, _ = tiny_pair()
    start = SequenceBatch.start(torch.ones(4, dtype=torch.long), 3)
    word = torch.full((4,), 7)
    seen = []
    handle = model.embedding.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    poutine.condition(model, data={"x_1": word})(start)
    handle.remove()
    assert torch.equal(seen[1], word)
    trace = poutine.trace(poutine.condition(model, data={"x_1": word})).get_trace(start)
    assert trace.nodes["x_1"]["is_observed"]
    assert not trace.nodes["x_2"]["is_observed"]


def test_scoring_and_generating_give_the_same_density():
    """What the model generates, conditioned step by step, has the density of the same words given as targets."""
    model, _ = tiny_pair()
    start = SequenceBatch.start(torch.ones(4, dtype=torch.long), 3)
    generated = poutine.trace(model).get_trace(start)
    words = torch.stack([generated.nodes[f"x_{t}"]["value"] for t in (1, 2, 3)])
    inputs = torch.cat([start.inputs, words[:-1]])
    batch = SequenceBatch(inputs, words, start.mask)
    latents = {f"z_{t}": generated.nodes[f"z_{t}"]["value"] for t in (1, 2, 3)}
    scored = poutine.trace(poutine.condition(model, data=latents)).get_trace(batch)
    assert torch.allclose(scored.log_prob_sum(), generated.log_prob_sum(), rtol=1e-12)


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_generates(parallel):
    model, _ = tiny_pair()
    start = SequenceBatch.start(torch.ones(4, dtype=torch.long), 3)
    draws = Predictive(model, num_samples=6, parallel=parallel)(start)
    assert {name: tuple(value.shape) for name, value in draws.items()} == {
        **{f"x_{t}": (6, 4) for t in (1, 2, 3)},
        **{f"z_{t}": (6, 4, 3) for t in (1, 2, 3)},
    }
    assert draws["x_3"].max() < VOCABULARY
    assert len(draws["x_3"].unique()) > 1


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_reconstructs_from_the_guide(parallel):
    model, guide = tiny_pair()
    batch = tiny_batch()
    draws = Predictive(model, guide=guide, num_samples=6, parallel=parallel)(batch)
    assert draws["z_2"].shape == (6, 3, 3)
    assert draws["x_2"].shape == (6, 3)


def test_dropout_is_drawn_once_for_both_programs():
    model, guide = tiny_pair(input_dropout=0.5)
    batch = tiny_batch()
    guide_trace = poutine.trace(guide).get_trace(batch)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch)
    factors = guide_trace.nodes["input_dropout"]["value"]
    assert set(factors.unique().tolist()) == {0.0, 2.0}
    assert model_trace.nodes["input_dropout"]["value"] is factors
    assert "input_dropout" not in sample_sites(model.eval(), batch)


def test_the_same_states_are_seen_by_both_programs_under_dropout():
    model, guide = tiny_pair(input_dropout=0.5)
    batch = tiny_batch()
    seen: dict[str, list] = {"guide": [], "model": []}
    update = model.transition.update
    current = seen["guide"]

    def spy(state, context, latent):
        current.append(state.hidden)
        return update(state, context, latent)

    model.transition.update = spy
    trace = poutine.trace(guide).get_trace(batch)
    current = seen["model"]
    poutine.replay(model, trace=trace)(batch)
    assert len(seen["guide"]) == batch.num_steps
    for real, ours, theirs in zip(batch.mask, seen["guide"], seen["model"], strict=True):
        assert torch.allclose(ours[real], theirs[real], rtol=1e-12, atol=1e-15)


def test_a_guide_without_targets_says_so():
    _, guide = tiny_pair()
    with pytest.raises(ValueError, match="has none"):
        guide(SequenceBatch.start(torch.ones(2, dtype=torch.long), 3))
