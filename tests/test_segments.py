"""Time in segments: the same losses and gradients, in less memory."""

from contextlib import nullcontext

import pytest
import torch
from pyro.distributions import Normal

from tests.test_paths import FAMILIES
from tests.tiny import all_parameters, tiny_batch, tiny_pair
from zf_pyro import ZForcingELBO, ZForcingIWAE
from zf_pyro.conditionals import Conditional
from zf_pyro.kernels.choice import generic_loop
from zf_pyro.noise import noise
from zf_pyro.scopes import local_parameters
from zf_pyro.segments import in_segments, segment_lengths

OBJECTIVES = {
    "elbo": lambda alpha, beta: ZForcingELBO(alpha, beta, 0.4),
    "particles": lambda alpha, beta: ZForcingIWAE(alpha, beta, num_particles=3),
    "doubly": lambda alpha, beta: ZForcingIWAE(alpha, beta, num_particles=2, doubly=True),
    "free-bits": lambda alpha, beta: ZForcingELBO(alpha, beta, free_bits=0.1, num_particles=2),
}


def loss_and_gradients(model, guide, batch, objective):
    parameters = all_parameters(model, guide)
    torch.manual_seed(3)
    with local_parameters():
        loss = objective(model, guide)(batch, form="path")
    gradients = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    return loss.item(), dict(zip(parameters, gradients, strict=True))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_the_same(family, objective):
    """In segments of two steps; of the ELBO in segments of one, too."""
    model, guide, batch = FAMILIES[family](torch.float64)
    weights = [0.0 if part is None else 0.3 for part in (guide.auxiliary, guide.backward)]
    made = OBJECTIVES[objective](*weights)
    try:
        loss, gradients = loss_and_gradients(model, guide, batch, made)
    except NotImplementedError:
        pytest.skip("this divergence has no closed form, which free bits need")
    for count in (3, 100) if objective == "elbo" else (3,):
        with in_segments(count):
            other_loss, other_gradients = loss_and_gradients(model, guide, batch, made)
        assert other_loss == pytest.approx(loss, rel=1e-12)
        for name, gradient in gradients.items():
            error = (gradient - other_gradients[name]).abs().max()
            assert error <= 1e-10 * gradient.abs().max() + torch.finfo(torch.float64).tiny, name


def test_the_generic_loop_is_cut_too():
    model, guide = tiny_pair(input_dropout=0.3)
    batch, objective = tiny_batch((9, 4)), ZForcingELBO(0.3, 0.7)
    with generic_loop():
        loss, gradients = loss_and_gradients(model, guide, batch, objective)
        with in_segments(4):
            other_loss, other_gradients = loss_and_gradients(model, guide, batch, objective)
    assert other_loss == pytest.approx(loss, rel=1e-12)
    for name, gradient in gradients.items():
        assert torch.allclose(other_gradients[name], gradient, rtol=1e-10, atol=1e-13), name


@pytest.mark.parametrize("loop", ["kernel", "generic"])
def test_what_is_kept_for_the_gradient_shrinks(loop):
    """Bytes that the graph keeps, in one segment and in eight."""
    model, guide = tiny_pair(hidden_size=64, mlp_size=64)
    batch = tiny_batch((64, 50))

    def kept(count):
        sizes = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with local_parameters(), in_segments(count), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = ZForcingELBO(0.3, 0.7)(model, guide)(batch, form="path")
        assert loss.requires_grad
        return sum(sizes.values())

    with generic_loop() if loop == "generic" else nullcontext():
        whole, cut = kept(1), kept(8)
    parameters = sum(p.nbytes for p in all_parameters(model, guide).values())
    assert cut - parameters < (whole - parameters) / 2


def test_a_part_that_drops_units_is_refused():
    model, guide = tiny_pair()
    model.transition.from_latent = torch.nn.Sequential(*model.transition.from_latent, torch.nn.Dropout(0.5))
    loss = ZForcingELBO()(model, guide)
    with local_parameters(), in_segments(3), pytest.raises(NotImplementedError, match="dropout of its own"):
        loss(tiny_batch(), form="path")
    model.eval()
    with local_parameters(), in_segments(3):
        assert loss(tiny_batch(), form="path").isfinite()


def test_a_posterior_without_reparametrisation_is_refused():
    class Blunt(Normal):
        has_rsample = False

    class Posterior(Conditional):
        def forward(self, context):
            return Blunt(context.hidden[..., :3], 1.0).to_event(1)

    model, guide = tiny_pair()
    guide.posterior = Posterior("hidden")
    with local_parameters(), in_segments(3), pytest.raises(NotImplementedError, match="reparametrised"):
        ZForcingELBO()(model, guide)(tiny_batch(), form="path")


def test_lengths_cover_all_steps():
    assert segment_lengths(7) == [7]
    with in_segments(3):
        assert segment_lengths(7) == [3, 2, 2]
        assert segment_lengths(2) == [1, 1]
        with torch.no_grad():
            assert segment_lengths(7) == [7]


@pytest.mark.parametrize("family", ["zforcing", "zforcing-hooks", "srnn"])
def test_gradients_may_be_taken_elsewhere(family):
    """What is run again runs as it did, whatever holds by then."""
    model, guide, batch = FAMILIES[family](torch.float64)
    parameters = list(all_parameters(model, guide).values())
    found = []
    for elsewhere in (False, True):
        torch.manual_seed(0)
        with local_parameters(), in_segments(3), generic_loop():
            loss = ZForcingELBO(0.3)(model, guide)(batch, form="path")
            if not elsewhere:
                found.append(torch.autograd.grad(loss, parameters, materialize_grads=True))
        if elsewhere:
            found.append(torch.autograd.grad(loss, parameters, materialize_grads=True))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_no_segments_are_refused():
    with pytest.raises(ValueError, match="at least one segment, not 0"), in_segments(0):
        pass


def test_given_noise_is_drawn_once():
    model, guide = tiny_pair()
    batch = tiny_batch()
    with local_parameters(), noise(1):
        loss = ZForcingELBO()(model, guide)(batch, form="path")
    with local_parameters(), noise(1), in_segments(3):
        other = ZForcingELBO()(model, guide)(batch, form="path")
    assert other.item() == pytest.approx(loss.item(), rel=1e-12)
