"""Posterior means, information and losses against exact answers."""

import json
import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine

from tests.kalman import generate
from tests.linear_gaussian import FAMILIES, exact_guide, exact_likelihoods, linear_model
from tests.test_latents import fixed_pair
from tests.test_linear_gaussian import alone, data_of, log_joint
from tests.tiny import tiny_batch, tiny_pair
from zf_pyro import Conditional, Encoder, Guide, InputError, PriorPosterior, SequenceBatch
from zf_pyro.bounds import sequence_bounds
from zf_pyro.inspection.encode import PATHS, encode, mean_of_paths, protocol, require_means, write_encoded
from zf_pyro.inspection.information import SEQUENCES, STEPS, bounds_of, chosen_for, cross_scores, information
from zf_pyro.inspection.picture import plot_usage
from zf_pyro.inspection.report import told
from zf_pyro.inspection.usage import losses
from zf_pyro.latents import step_divergences, step_ratios, step_sums
from zf_pyro.metrics import to_json
from zf_pyro.scopes import evaluating, local_parameters
from zf_pyro.tiles import tiles


@pytest.fixture(autouse=True)
def _local():
    with local_parameters():
        yield


def smoothed(model, single):
    """Mean (T, 2) and precision (2 T, 2 T) of p(z | x), of a sequence under a linear-Gaussian model."""
    function, zero = log_joint(model, single, "path"), torch.zeros(2 * single.num_steps, dtype=torch.float64)
    gradient = torch.autograd.functional.jacobian(function, zero)
    precision = -torch.autograd.functional.hessian(function, zero)
    return torch.linalg.solve(precision, gradient).unflatten(0, (-1, 2)), precision


# Means.


@pytest.mark.parametrize("family", FAMILIES)
def test_the_means_under_the_exact_guide_are_the_smoothers(family):
    model = linear_model(family)
    batch = data_of(model, 4, 4)
    found, exact = encode(exact_guide(model, family), [batch])
    assert exact
    for number, each in enumerate(found):
        mean, precision = smoothed(model, alone(batch, number))
        assert each.mean.shape == mean.shape == (batch.lengths[number], 2)
        assert torch.allclose(each.mean, mean, rtol=1e-9, atol=1e-9)
        for t in range(len(mean)):  # given the past, what comes after integrated out
            covariance = precision[2 * t :, 2 * t :].inverse()[:2, :2]
            assert torch.allclose(each.scale[t], covariance.diagonal().sqrt(), rtol=1e-9)


def test_drawn_paths_have_the_mean_and_the_deviation_of_the_whole_posterior():
    model = linear_model("dmm")
    guide, batch = exact_guide(model, "dmm"), data_of(model, 3, 3)
    (tile,) = [each for each in tiles([batch]) if each.batch.num_steps == 3]
    torch.manual_seed(0)
    with evaluating(model, guide):
        mean, scale = mean_of_paths(guide, tile, guide.encode(tile.batch), seed=0)
    exact, precision = smoothed(model, alone(batch, tile.places[0]))
    deviation = precision.inverse().diagonal().sqrt().unflatten(0, (-1, 2))
    assert ((mean[:, 0] - exact).abs() < 4 * deviation / PATHS**0.5).all()
    assert ((scale[:, 0] / deviation).log().abs() < 4 / (2 * PATHS) ** 0.5).all()


@pytest.mark.parametrize("options", [{}, {"guide": "flow"}, {"family": "srnn"}, {"guide": "prior"}], ids=str)
def test_what_is_beside_a_sequence_and_in_what_order_changes_nothing(options):
    _model, guide = tiny_pair(**options)
    whole, first, second = tiny_batch((5, 2, 4)), tiny_batch((5, 2)), tiny_batch((5, 2, 4), num_steps=9)
    found, exact = encode(guide, [whole])
    assert exact == (options.get("guide") != "flow")
    assert f"{PATHS} paths" in protocol(exact=False)
    assert "at their means" in protocol(exact=True)
    torch.manual_seed(5)
    again, _ = encode(guide, [first, second])
    for place, same in ((0, 0), (1, 1), (0, 2), (1, 3), (2, 4)):
        for one, other in zip(found[place], again[same], strict=True):
            assert (one is None and other is None) or torch.allclose(one, other, rtol=1e-12, atol=1e-12)
    assert [len(each.mean) for each in again] == [5, 2, 5, 2, 4]


def test_states_of_the_encoder_are_those_of_the_guide(tmp_path):
    _model, guide = tiny_pair()
    batch = tiny_batch((4, 6))
    found, _ = encode(guide, [batch])
    with evaluating(guide):
        states = guide.encode(batch)
    for b, each in enumerate(found):
        assert torch.allclose(each.encoding, states[: batch.lengths[b], b])
    write_encoded(tmp_path / "z.npz", ["a", "ä"], found, "how", with_encoding=True)
    with np.load(tmp_path / "z.npz", allow_pickle=False) as file:
        parts = np.split(file["encoding"], file["lengths"].cumsum()[:-1])
        assert file["names"].tolist() == ["a", "ä"]
        assert str(file["about"]) == "how"
    assert [part.shape for part in parts] == [(4, 8), (6, 8)]
    assert np.array_equal(parts[1], found[1].encoding.float().numpy())


def test_guides_without_means_or_states_are_refused():
    class Own(Guide):
        pass

    model, plain = tiny_pair(guide="prior")
    assert require_means(plain, with_encoding=False) is plain
    with pytest.raises(InputError, match="no encoder"):
        require_means(plain, with_encoding=True)
    with pytest.raises(InputError, match="one's own"):
        require_means(Own(model, None, PriorPosterior()), with_encoding=False)


# Information.


class AsItIs(Encoder):
    """e_t = x_t."""

    size = 2

    def forward(self, embedded, lengths):
        return embedded


class Around(Conditional):
    """N(e_t, I)."""

    def __init__(self):
        super().__init__("encoding")

    def forward(self, context):
        return dist.Normal(self.gather(context), 1.0).to_event(1)


def reals(count, steps, scale):
    """Independent normal numbers as sequences."""
    targets = scale * torch.randn(steps, count, 2, dtype=torch.float64)
    inputs = torch.cat([torch.zeros_like(targets[:1]), targets[:-1]])
    return SequenceBatch(inputs, targets, torch.ones(steps, count, dtype=torch.bool))


def test_the_bounds_are_around_the_information_of_a_gaussian_channel():
    """x_t ~ N(0, s^2 I) and z_t ~ N(x_t, I): I(x; z_1 .. z_t) = t log(1 + s^2) for two units."""
    model = linear_model("dmm")
    guide = Guide(model, AsItIs(), Around()).double()
    torch.manual_seed(0)
    found = [information(model, guide, reals(48, 3, 0.5), 3, seed=seed) for seed in range(30)]
    exact = torch.arange(1, 4) * math.log(1.25)
    for name, sign in (("lower", 1), ("upper", -1)):
        values = torch.stack([getattr(each, name) for each in found])
        error = values.std(0) / len(found) ** 0.5
        assert (sign * (values.mean(0) - exact) < 4 * error).all()
        assert ((values.mean(0) - exact).abs() < 4 * error + 0.05 * exact).all()


def test_the_divergence_of_the_exact_posterior_is_the_information_at_the_first_step():
    """The posterior averaged over the model's own data is the prior: nothing is left of the decomposition."""
    model = linear_model("dmm")
    guide = exact_guide(model, "dmm")
    torch.manual_seed(0)
    batches = [generate(model, 144, 3) for _ in range(6)]
    batches = [SequenceBatch(b.inputs[:, ::3], b.targets[:, ::3], b.mask[:, ::3]) for b in batches]
    assert all(batch.mask.all() for batch in batches)
    _, precision = smoothed(model, alone(batches[0], 0))
    exact = 0.5 * (4 * math.log(model.prior.scale) - precision.inverse()[:2, :2].logdet().item())
    assert step_sums(model, guide, batches, step_divergences) is None
    ratios = step_sums(model, guide, batches, step_ratios)
    assert ratios.counts.tolist() == [288] * 3
    assert ratios.by_step[0].item() == pytest.approx(exact, abs=0.15)
    found = [information(model, guide, batch, 1, seed=seed) for seed, batch in enumerate(batches)]
    lower, upper = (torch.stack([getattr(each, name) for each in found]).mean().item() for name in ("lower", "upper"))
    error = torch.stack([each.error for each in found]).mean().item() / len(found) ** 0.5
    assert lower - 4 * error < exact < upper + 4 * error


@pytest.mark.parametrize(
    "options",
    [{}, {"family": "vrnn"}, {"family": "srnn"}, {"guide": "flow"}, {"prior": "flow", "guide": "prior"}],
    ids=str,
)
def test_the_scores_of_a_path_under_another_sequence_are_those_of_the_step_form(options):
    model, guide = tiny_pair(**options)
    batch = tiny_batch((5, 4, 6))
    torch.manual_seed(3)
    with evaluating(model, guide):
        scores = cross_scores(model, guide, batch, 4)
        torch.manual_seed(3)
        short = SequenceBatch(batch.inputs[:4], batch.targets[:4], batch.mask[:4])
        path = guide(short, encoding=crop(guide.encode(batch)), form="path")  # the same draws: (T, B, Z)
        for n in range(3):
            values = {f"z_{t}": each[n].expand(3, -1) for t, each in enumerate(path, 1)}
            conditioned = poutine.condition(guide, values)
            trace = poutine.trace(conditioned).get_trace(short, encoding=crop(guide.encode(batch)))
            trace.compute_log_prob()
            for t in range(4):
                assert torch.allclose(scores[t, n], trace.nodes[f"z_{t + 1}"]["log_prob"], rtol=1e-6, atol=1e-8)


def crop(encoding):
    """The first four steps of an encoding."""
    return None if encoding is None else encoding[:4]


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_bounds_from_scores(count, steps, seed):
    torch.manual_seed(seed)
    scores = 3 * torch.randn(steps, count, count, dtype=torch.float64)
    found = bounds_of(scores)
    assert found.num_sequences == count
    assert (found.lower <= math.log(count) + 1e-12).all()
    weights = scores.exp()
    for t in range(steps):
        rows = range(count)
        others = [[weights[t, n, m] for m in rows if m != n] for n in rows]
        lower = [(scores[t, n, n] - weights[t, n].mean().log()).item() for n in rows]
        upper = [(scores[t, n, n] - sum(others[n]).log() + math.log(count - 1)).item() for n in rows]
        assert found.lower[t].item() == pytest.approx(np.mean(lower))
        assert found.upper[t].item() == pytest.approx(np.mean(upper))
        assert found.error[t].item() == pytest.approx(np.std(lower, ddof=1) / count**0.5, abs=1e-12)
    nothing = bounds_of(torch.zeros(1, count, count, dtype=torch.float64))
    assert nothing.lower.item() == pytest.approx(0, abs=1e-12)
    assert nothing.upper.item() == pytest.approx(0, abs=1e-12)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200))
def test_the_sequences_chosen_all_have_the_steps(lengths):
    lengths = np.array(lengths)
    places = np.arange(len(lengths))[::2]
    among, steps = chosen_for(lengths, places)
    assert set(among.tolist()) <= set(places.tolist())
    assert 1 <= steps <= STEPS
    assert (lengths[among] >= steps).all()
    assert len(among) >= min(SEQUENCES, (len(places) + 1) // 2)


def test_one_sequence_tells_nothing_apart():
    assert information(*tiny_pair(), tiny_batch((4,)), 4) is None


# KL by steps, and what the prior loses.


def test_sums_over_steps_count_the_sequences_that_have_them():
    model, guide = fixed_pair([1.0, 0.0], [1.0, 1.0])
    found = step_sums(
        model, guide, [tiny_batch((2, 3)), tiny_batch((5,)), tiny_batch((1,), num_steps=4)], step_divergences
    )
    assert found.counts.tolist() == [4, 3, 2, 1, 1]
    assert found.by_step.tolist() == pytest.approx([0.5] * 5)
    assert found.by_unit.tolist() == pytest.approx([0.5, 0.0])


def test_ratios_average_to_the_closed_form():
    model, guide = fixed_pair([0.7, -0.2], [0.6, 1.3])
    batches = [tiny_batch((3,) * 400, seed=seed) for seed in range(2)]
    exact = step_sums(model, guide, batches, step_divergences)
    drawn = step_sums(model, guide, batches, step_ratios)
    assert torch.equal(drawn.counts, exact.counts)
    assert drawn.by_step.tolist() == pytest.approx(exact.by_step.tolist(), abs=0.2)
    assert drawn.by_unit.item() == pytest.approx(exact.by_unit.sum().item(), abs=0.1)


def test_figures_that_are_not_finite_are_written_and_drawn(tmp_path):
    known = {"num_sequences": 2, "num_steps": 2, "num_particles": 1, "kl": 0.1, "kl_per_step": 0.1}
    bounds = {"num_sequences": 2, "lower": [0.1], "upper": [math.inf], "error": [0.0]}
    lost = {
        f"{name}{end}": None for name in ("reconstruction", "iw_bound") for end in ("_by_prior", "_loss", "_loss_se")
    }
    for by_step, by_unit, info in (
        ([math.inf, math.nan], [math.inf, 1.0], bounds),
        ([0.1, 0.2], None, None),
        (None, None, None),
    ):
        found = {**known, **lost, "reconstruction": 1.0, "iw_bound": 1.0, "information": info, "active_units": None}
        found |= {"kl_by_step": by_step, "kl_by_unit": by_unit, "sequences_by_step": [1, 1]}
        results = {"sequence": "sentence", "step": "token", "latents": found}
        plot_usage(results, tmp_path / "x.png")
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
        lines = list(told(results))
        assert any("inf" in line for line in lines) == (info is not None)
        assert json.loads(to_json(results))["latents"]["kl_by_step"] == (by_step if info is None else [None, None])


def test_a_guide_that_is_the_prior_loses_nothing():
    model, _ = tiny_pair()
    guide = Guide(model, None, PriorPosterior())
    bounds = sequence_bounds(model, guide, [tiny_batch()], 4)
    lost = losses(bounds, sequence_bounds(model, guide, [tiny_batch()], 4))
    for name in ("reconstruction", "iw_bound"):
        assert lost[f"{name}_loss"] == lost[f"{name}_loss_se"] == 0
        assert lost[name] == lost[f"{name}_by_prior"]
    assert lost["reconstruction"] == pytest.approx(bounds.elbo.mean().item())
    assert losses(bounds, None)["iw_bound_loss"] is None


def test_the_exact_posterior_gains_what_the_priors_bound_lacks():
    model = linear_model("dmm")
    batch = data_of(model, 6, 4)
    posterior = sequence_bounds(model, exact_guide(model, "dmm"), [batch], 3)
    prior = sequence_bounds(model, Guide(model, None, PriorPosterior()), [batch], 3)
    lost = losses(posterior, prior)
    exact = exact_likelihoods(model, "dmm", batch)
    assert lost["iw_bound"] == pytest.approx(exact.mean().item())
    assert lost["iw_bound_loss"] == pytest.approx((exact - prior.iw_bound).mean().item())
    assert lost["reconstruction_loss"] == pytest.approx((posterior.elbo + posterior.kl - prior.elbo).mean().item())
    assert lost["reconstruction_loss"] > 0
