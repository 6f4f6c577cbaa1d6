"""The objective against its formula and against Pyro's."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, TraceMeanField_ELBO
from torch import nn

from tests.tiny import all_parameters, tiny_batch, tiny_pair
from zf_pyro import Conditional, Context, Guide, Linear, ZForcingELBO
from zf_pyro.noise import noise
from zf_pyro.objectives import Terms
from zf_pyro.scopes import local_parameters
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms


@pytest.fixture(autouse=True)
def _local():
    with local_parameters(), pyro.validation_enabled():
        yield


def gradients(objective, model, guide, batch, seed=3):
    for p in all_parameters(model, guide).values():
        p.grad = None
    pyro.set_rng_seed(seed)
    loss = objective(model, guide)(batch)
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in all_parameters(model, guide).items() if p.grad is not None}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kinds", [{}, {"num_particles": 2}, {"num_particles": 2, "vectorize_particles": True}])
def test_without_weights_it_is_the_evidence_lower_bound(dtype, tolerance, kinds):
    model, guide = tiny_pair(dtype=dtype, input_dropout=0.2)
    batch = tiny_batch()
    loss, ours = gradients(ZForcingELBO(**kinds), model, guide, batch)
    expected, theirs = gradients(TraceMeanField_ELBO(**kinds), model, guide, batch)
    assert torch.allclose(loss, expected, rtol=tolerance, atol=0)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        scale = theirs[name].abs().max()
        assert (gradient - theirs[name]).abs().max() <= tolerance * scale, name


def test_the_loss_is_the_weighted_sum_of_its_terms_over_the_count():
    model, guide = tiny_pair()
    objective = ZForcingELBO(alpha=0.3, beta=0.7, gamma=0.4, count=3)
    loss = objective.loss(model, guide, tiny_batch())
    terms = objective.last_terms
    expected = -(terms.reconstruction + 0.3 * terms.auxiliary + 0.7 * terms.backward - 0.4 * terms.kl) / 3
    assert loss == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("reads", ["latent", "latent+hidden"])
def test_terms_equal_their_formulas(reads):
    """Every term by hand, from the guide's own draws, one sequence and one step at a time."""
    model, guide = tiny_pair(auxiliary_reads=reads)
    lengths = (5, 2, 4)
    batch = tiny_batch(lengths)
    objective = ZForcingELBO(alpha=1.0, beta=1.0)
    pyro.set_rng_seed(5)
    objective.loss(model, guide, batch)
    pyro.set_rng_seed(5)
    with torch.no_grad(), skip_terms(AUXILIARY, BACKWARD):
        z = guide(batch)  # (T, B, Z)
    by_hand = dict.fromkeys(Terms._fields[:4], 0.0)
    with torch.no_grad():
        for b, length in enumerate(lengths):
            state = model.transition.initial(1)
            for t in range(length):
                future = model.embedding(batch.targets[t:length, b].flip(0)).unsqueeze(1)
                encoding = guide.encoder.lstm(future)[0][-1]
                embedded = model.embedding(batch.inputs[t, b : b + 1])
                context = model.transition.predict(state, model.transition.prepare(embedded))
                q, p = guide.posterior(context._replace(encoding=encoding)), model.prior(context)
                latent = z[t, b : b + 1]
                seen = Context(latent=latent, hidden=state.hidden)
                by_hand["kl"] += torch.distributions.kl_divergence(q, p).item()
                state, feature = model.transition.update(state, context, latent)
                emission = model.emission(context._replace(feature=feature))
                by_hand["reconstruction"] += emission.log_prob(batch.targets[t, b : b + 1]).item()
                by_hand["auxiliary"] += guide.auxiliary(seen).log_prob(encoding).item()
                if t > 0:
                    scores = guide.backward(Context(encoding=encoding)).log_prob(batch.inputs[t, b : b + 1])
                    by_hand["backward"] += scores.item()
    assert objective.last_terms.penalty is None
    for name in by_hand:
        value = getattr(objective.last_terms, name)
        assert value.item() == pytest.approx(by_hand[name], rel=1e-10), name


def test_the_backward_term_scores_a_first_input_that_is_data():
    from dataclasses import replace

    model, guide = tiny_pair()
    batch = tiny_batch()
    objective = ZForcingELBO(beta=1.0)
    objective.loss(model, guide, batch)
    without = objective.last_terms.backward
    objective.loss(model, guide, replace(batch, first_input_is_data=True))
    first = guide.backward(Context(encoding=guide.encode(batch)[:1])).log_prob(batch.inputs[:1]).sum()
    assert objective.last_terms.backward.item() == pytest.approx((without + first).item(), rel=1e-12)


@pytest.mark.parametrize("vectorize", [False, True])
def test_terms_are_averages_over_particles(vectorize):
    model, guide = tiny_pair()
    guide.posterior = Pointlike(guide.posterior)
    batch = tiny_batch()
    single, several = (ZForcingELBO(0.3, 0.7, num_particles=k, vectorize_particles=vectorize and k > 1) for k in (1, 4))
    assert several.loss(model, guide, batch) == pytest.approx(single.loss(model, guide, batch), rel=1e-6)
    assert several.last_terms.penalty is single.last_terms.penalty is None
    for ours, theirs in zip(several.last_terms[:4], single.last_terms[:4], strict=True):
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


class Pointlike(Conditional):
    """A posterior that hardly varies, so that all particles are alike."""

    def __init__(self, posterior):
        super().__init__("hidden", "encoding")
        self.posterior = posterior

    def forward(self, context):
        return dist.Normal(self.posterior(context).base_dist.loc, 1e-9).to_event(1)


def test_terms_follow_scale_and_mask():
    model, guide = tiny_pair()
    batch = tiny_batch()
    objective = ZForcingELBO(0.3, 0.7)

    def loss_under(handler):
        pyro.set_rng_seed(0)
        return objective.loss(handler(model), handler(guide), batch)

    whole = loss_under(lambda program: program)
    assert loss_under(lambda program: poutine.scale(program, scale=0.5)) == pytest.approx(0.5 * whole, rel=1e-12)
    parts = [torch.tensor([True, False, False]), torch.tensor([False, True, True])]
    masked = [loss_under(lambda program, part=part: poutine.mask(program, mask=part)) for part in parts]
    assert sum(masked) == pytest.approx(whole, rel=1e-12)


def test_the_backward_term_of_single_steps_is_zero():
    model, guide = tiny_pair()
    objective = ZForcingELBO(beta=1.0)
    objective.loss(model, guide, tiny_batch((1, 1)))
    assert objective.last_terms.backward == 0


class Exploding(Conditional):
    """A head that must not be run."""

    def forward(self, context):
        raise AssertionError("evaluated")


def test_a_term_of_weight_zero_is_not_evaluated():
    model, guide = tiny_pair()
    guide.auxiliary, guide.backward = Exploding("latent"), Exploding("encoding")
    objective = ZForcingELBO(gamma=0.0)
    assert math.isfinite(objective.loss(model, guide, tiny_batch()))
    assert objective.last_terms[1:] == (None,) * 4
    with pytest.raises(AssertionError, match="evaluated"):
        ZForcingELBO(alpha=1.0).loss(model, guide, tiny_batch())


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_a_weight_without_its_term_is_refused(name):
    model, guide = tiny_pair()
    bare = Guide(model, guide.encoder, guide.posterior)
    with pytest.raises(ValueError, match=f"{name} is 0.5, but the guide has no"):
        ZForcingELBO(**{name: 0.5}).loss(model, bare, tiny_batch())


def test_the_auxiliary_gives_the_encoder_no_gradient_through_its_target():
    model, guide = tiny_pair()
    batch = tiny_batch()

    def auxiliary_gradient(detached):
        guide.detach_auxiliary_target = detached
        with_term = gradients(ZForcingELBO(alpha=1.0), model, guide, batch)[1]["1.encoder.lstm.weight_hh_l0"]
        without = gradients(ZForcingELBO(), model, guide, batch)[1]["1.encoder.lstm.weight_hh_l0"]
        return with_term - without

    through_z = auxiliary_gradient(True)
    assert not torch.allclose(through_z, auxiliary_gradient(False))
    guide.posterior = ReadsOnlyHidden(guide.posterior)
    assert auxiliary_gradient(True).abs().max() < 1e-12


def test_the_backward_language_model_trains_the_encoder():
    model, guide = tiny_pair()
    batch = tiny_batch()
    with_term, without = (
        gradients(ZForcingELBO(beta=beta), model, guide, batch)[1]["1.encoder.lstm.weight_hh_l0"] for beta in (1.0, 0.0)
    )
    assert not torch.allclose(with_term, without)


class ReadsOnlyHidden(Conditional):
    """A posterior blind to the encoder but for a path of zero weight."""

    def __init__(self, posterior):
        super().__init__("hidden", "encoding")
        self.posterior = posterior

    def forward(self, context):
        return self.posterior(context._replace(encoding=0 * context.encoding))


class Laplace(Conditional):
    """A family whose divergence from a Gaussian is not registered."""

    def __init__(self, size):
        super().__init__("hidden")
        self.mean = nn.Linear(8, size, dtype=torch.float64)

    def forward(self, context):
        return dist.Laplace(self.mean(context.hidden), 1.0).to_event(1)


def test_an_unregistered_divergence_is_sampled():
    model, guide = tiny_pair()
    model.prior = Laplace(3)
    batch = tiny_batch()
    loss, ours = gradients(ZForcingELBO(), model, guide, batch)
    expected, theirs = gradients(TraceMeanField_ELBO(), model, guide, batch)
    assert torch.allclose(loss, expected, rtol=1e-12)
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-9, atol=1e-12) for name in ours)


class Discrete(Conditional):
    """A posterior without a reparametrisation."""

    def forward(self, context):
        return dist.Poisson(torch.ones(3, 3, dtype=torch.float64)).to_event(1)


def test_a_latent_site_without_reparametrisation_is_refused():
    model, guide = tiny_pair()
    guide.posterior = Discrete()
    with pytest.raises(NotImplementedError, match="'z_1' is not"):
        ZForcingELBO().loss(model, guide, tiny_batch())


def test_schedules_follow_the_steps_of_svi():
    model, guide = tiny_pair()
    objective = ZForcingELBO(gamma=Linear(0.2, 1.0, 4))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.0}), objective)
    seen = []
    for _ in range(6):
        seen.append(objective.gamma(objective.step))
        pyro.set_rng_seed(0)
        loss = svi.step(tiny_batch())
        terms = objective.last_terms
        assert loss == pytest.approx((-terms.reconstruction + seen[-1] * terms.kl).item(), rel=1e-12)
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert objective.step == 6
    svi.evaluate_loss(tiny_batch())
    assert objective.step == 6


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"auxiliary_reads": "latent+hidden"},
        {"auxiliary_loss": "squared-error"},
        {"emission_skip": True},
        {"transition_mlp": False},
        {"share_embedding": False},
        {"learn_initial_state": True},
        {"recurrent_init": "uniform"},
        {"auxiliary_mean": "identity"},
    ],
)
def test_every_parameter_gets_a_gradient(options):
    model, guide = tiny_pair(input_dropout=0.2, **options)
    _, found = gradients(ZForcingELBO(alpha=0.1, beta=0.1), model, guide, tiny_batch((5, 4, 3, 5)))
    names = all_parameters(model, guide)
    assert [n for n in names if n not in found or not found[n].abs().sum() > 0] == []


def test_squared_error_is_the_error_plus_a_constant():
    _, guide = tiny_pair(auxiliary_loss="squared-error")
    latent, target = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64)
    law = guide.auxiliary(Context(latent=latent))
    expected = -(target - law.mean).square().sum(-1) - 8 * 0.5 * math.log(math.pi)
    assert torch.allclose(law.log_prob(target), expected, rtol=1e-12)


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(count):
    with pytest.raises(ValueError, match="count must be at least 1"):
        ZForcingELBO(count=count)


def kl_of_steps(model, guide, batch, seed=1):
    """KL_t of every step and sequence, (T, B), zero at padded steps, by the laws of the step form."""
    with noise(seed), skip_terms(AUXILIARY, BACKWARD):
        guide_trace = poutine.trace(guide).get_trace(batch)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch)
    laws = [[trace.nodes[f"z_{t}"]["fn"] for trace in (guide_trace, model_trace)] for t in range(1, 6)]
    return torch.stack([torch.distributions.kl_divergence(*pair) for pair in laws]) * batch.mask


@pytest.mark.parametrize("form", ["step", "path"])
@pytest.mark.parametrize("floor", [0.35, 0.42, 1e3])
def test_free_bits_are_a_floor_under_the_divergence_of_each_real_step(form, floor):
    model, guide = tiny_pair()
    batch = tiny_batch()
    kl = kl_of_steps(model, guide, batch)
    assert kl[batch.mask].min() < floor
    assert floor == 1e3 or floor < kl.max()
    objective = ZForcingELBO(gamma=0.7, free_bits=floor)
    with noise(1):
        loss = objective.loss(model, guide, batch, form=form)
    terms = objective.last_terms
    floored = (kl.clamp(min=floor) * batch.mask).sum().item()
    assert terms.penalty.item() == pytest.approx(floored, rel=1e-11)
    assert terms.kl.item() == pytest.approx(kl.sum().item(), rel=1e-11)
    assert loss == pytest.approx((0.7 * terms.penalty - terms.reconstruction).item(), rel=1e-11)


@pytest.mark.parametrize("form", ["step", "path"])
@pytest.mark.parametrize("floor", [0.0, 0.4])
def test_the_gradient_is_that_of_the_loss_by_finite_differences(form, floor):
    model, guide = tiny_pair(detach_auxiliary_target=False)
    objective = ZForcingELBO(0.2, 0.3, 0.7, free_bits=floor)

    def loss_of():
        with noise(1):
            return objective(model, guide)(tiny_batch(), form=form)

    loss_of().backward()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in all_parameters(model, guide).items():
        place = int(torch.randint(parameter.numel(), (1,), generator=generator))
        with torch.no_grad():
            values = []
            for step in (1e-5, -1e-5):
                parameter.view(-1)[place] += step
                values.append(loss_of().item())
                parameter.view(-1)[place] -= step
        found = parameter.grad.view(-1)[place].item()
        assert found == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("form", ["step", "path"])
@pytest.mark.parametrize("balance", [0.2, 0.8])
def test_balancing_scales_what_each_law_is_pulled_by(form, balance):
    """The prior's layers get 2 w of their gradient of KL, the posterior's 2 (1 - w); the value stays."""
    model, guide = tiny_pair()
    batch = tiny_batch((1, 1, 1))  # one step: nothing else depends on either law
    found = {}
    for weight in (0.5, balance):
        for parameter in all_parameters(model, guide).values():
            parameter.grad = None
        objective = ZForcingELBO(kl_balance=weight)
        with noise(1):
            loss = objective(model, guide)(batch, form=form)
        (loss + objective_without_kl(model, guide, batch, form)).backward()
        pulled = model.prior.network[-1].weight.grad, guide.posterior.network[-1].weight.grad
        found[weight] = loss.item(), *(each.clone() for each in pulled)
    assert found[balance][0] == pytest.approx(found[0.5][0], rel=1e-12)
    assert torch.allclose(found[balance][1], 2 * balance * found[0.5][1], rtol=1e-9)
    assert torch.allclose(found[balance][2], 2 * (1 - balance) * found[0.5][2], rtol=1e-9)


def objective_without_kl(model, guide, batch, form):
    """Minus the reconstruction's part of the loss, so that only the gradient of the KL term is left."""
    with noise(1):
        return -ZForcingELBO(gamma=0.0)(model, guide)(batch, form=form)


def test_balancing_meets_a_law_that_is_no_gaussian():
    model, guide = tiny_pair(prior="mixture")
    with pytest.raises(NotImplementedError, match="No KL"):
        ZForcingELBO(kl_balance=0.8)(model, guide)(tiny_batch(), form="path")


@pytest.mark.parametrize("options", [{"free_bits": -1}, {"free_bits": math.nan}, {"kl_balance": 0}, {"kl_balance": 1}])
def test_wrong_options_of_the_divergence_are_refused(options):
    with pytest.raises(ValueError, match=r"must not be negative|must be between 0 and 1"):
        ZForcingELBO(**options)


@pytest.mark.parametrize("form", ["step", "path"])
def test_the_site_of_dropout_has_no_part_in_free_bits_and_balancing(form):
    model, guide = tiny_pair(input_dropout=0.3)
    losses = []
    for objective in (ZForcingELBO(), ZForcingELBO(free_bits=1e-9, kl_balance=0.8)):
        torch.manual_seed(0)
        with noise(1):
            losses.append(objective.loss(model, guide, tiny_batch(), form=form))
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
