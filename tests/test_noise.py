"""Reparametrised draws and shared noise."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from tests.tiny import tiny_batch, tiny_pair
from zf_pyro.noise import noise, reparametrised, uses_standard_normal
from zf_pyro.scopes import local_parameters


def ones(like):
    return torch.ones_like(like)


def test_a_normal_draw_is_the_mean_plus_the_scale_times_the_noise():
    mean, scale = torch.randn(4, 3, requires_grad=True), torch.rand(4, 3)
    for law in (dist.Normal(mean, scale), dist.Normal(mean, scale).to_event(1), dist.Normal(mean, scale).mask(False)):
        assert uses_standard_normal(law)
        assert torch.equal(reparametrised(law, ones), mean + scale)
    assert reparametrised(dist.Normal(mean, scale), ones).requires_grad


def test_other_laws_draw_by_themselves():
    def unasked(like):
        raise AssertionError("asked for noise")

    for law in (dist.Laplace(torch.zeros(3), 1.0), dist.Poisson(torch.ones(3)), dist.Delta(torch.ones(3)).to_event(1)):
        assert not uses_standard_normal(law)
        assert reparametrised(law, unasked).shape == (3,)


@pytest.mark.parametrize("form", ["step", "path"])
def test_the_stream_begins_anew_and_goes_on_within(form):
    model, guide = tiny_pair()
    batch = tiny_batch()
    stream = noise(4)
    with local_parameters():
        draws = []
        for _ in range(2):
            with stream:
                draws.append((guide(batch, form=form), guide(batch, form=form)))
        with noise(5):
            other = guide(batch, form=form)
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.allclose(draws[0][0], draws[0][1])
    assert not torch.allclose(draws[0][0], other)
    assert model.training


def test_it_leaves_the_random_state_and_what_is_observed_or_replayed_alone():
    def program():
        with pyro.plate("sequences", 3):
            a = pyro.sample("a", dist.Normal(torch.zeros(3), 1.0))
            pyro.sample("b", dist.Normal(a, 1.0), obs=torch.ones(3))
            pyro.sample("c", dist.Poisson(torch.ones(3)))

    state = torch.get_rng_state()
    with noise(0):
        first = poutine.trace(poutine.block(program, hide=["c"])).get_trace()
    torch.set_rng_state(state)
    with noise(0):
        again = poutine.trace(poutine.replay(program, trace=first)).get_trace()
    assert torch.equal(first.nodes["b"]["value"], torch.ones(3))
    assert first.nodes["a"]["value"] is again.nodes["a"]["value"]
    state = torch.get_rng_state()
    with noise(0):
        pyro.sample("a", dist.Normal(torch.zeros(3), 1.0))
    assert torch.equal(torch.get_rng_state(), state)


def test_without_it_all_steps_are_drawn_at_once(monkeypatch):
    model, guide = tiny_pair()
    shapes = []
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *shape, **options: shapes.append(shape) or randn(*shape, **options))
    with local_parameters():
        guide(tiny_batch(), form="path")
    assert shapes == [(5, 3, 3)]
    assert model.training
