"""The hand-written recursion: numbers and gradients of the generic loop, which runs wherever it does not serve."""

import gc
import weakref
from contextlib import suppress
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.tiny import SIZES, VOCABULARY, all_parameters, tiny_batch, tiny_pair
from zf_pyro import ZForcingELBO, ZForcingIWAE
from zf_pyro.build import build
from zf_pyro.conditionals import ClippedLeakyReLU, Context, DiagonalGaussian
from zf_pyro.config import ModelConfig
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Observation
from zf_pyro.errors import InputError
from zf_pyro.kernels import choice
from zf_pyro.kernels.choice import generic_loop
from zf_pyro.kernels.lstm_gaussian import LSTMGaussian
from zf_pyro.kernels.window import LENGTH, Window
from zf_pyro.noise import noise
from zf_pyro.parts import FAMILIES, TRANSITIONS
from zf_pyro.scopes import local_parameters

SHORT_GUIDES = ("forward", "filtering", "mean-field", "residual", "flow", "prior")


@pytest.fixture(autouse=True)
def _local():
    with local_parameters():
        yield


@pytest.fixture
def draws(monkeypatch):
    """The shapes (..., B) of what kernels draw."""
    found = []
    draw = choice.Kernel.draw
    monkeypatch.setattr(choice.Kernel, "draw", lambda self, *args: (found.append(args[2]), draw(self, *args))[1])
    return found


def loss_and_gradients(model, guide, batch, objective=None, form="path"):
    objective = objective or ZForcingELBO(0.3, 0.7, 0.4)
    parameters = all_parameters(model, guide)
    torch.manual_seed(3)
    with local_parameters(), noise(1):
        loss = objective(model, guide)(batch, form=form)
    gradients = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    return loss.item(), dict(zip(parameters, gradients, strict=True))


def require_equal(found, expected, tolerance):
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    for name, gradient in expected[1].items():
        error = (gradient - found[1][name]).abs().max()
        assert error <= 100 * tolerance * gradient.abs().max(), name


def numbers(dtype, steps, sequences, **options):
    """A model of real frames and its guide, with weights that reach every bound, and a batch."""
    torch.manual_seed(0)
    sizes = {"embedding_size": 6, "hidden_size": 8, "latent_size": 3, "mlp_size": 5, "input_dropout": 0.0}
    model, guide = build(ModelConfig(**{**sizes, **options}), Observation("gaussian", 2))
    for module in (model.to(dtype), guide.to(dtype)):
        for parameter in module.parameters():
            parameter.data += 0.4 * torch.randn_like(parameter)
    frames = torch.randn(steps + 1, sequences, 2, dtype=dtype)
    lengths = torch.randint(1, steps + 1, (sequences,))
    lengths[0] = steps
    return model, guide, SequenceBatch(frames[:-1], frames[1:], torch.arange(steps).unsqueeze(1) < lengths)


BOUNDS = {"wide": {}, "narrow": {"activation_bound": 0.3, "parameter_clamp": 0.2}, "kinked": {"activation_slope": 0.0}}
LAYERS = {
    "with-layer": {"transition_mlp": True},
    "learned-start": {"transition_mlp": False, "learn_initial_state": True},
}


@pytest.mark.parametrize("steps", [1, LENGTH - 1, LENGTH, LENGTH + 1, 2 * LENGTH + 3])
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("layer", LAYERS)
def test_values_and_gradients_are_those_of_the_generic_loop(layer, bounds, steps, draws):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        model, guide, batch = numbers(dtype, steps, 3, **BOUNDS[bounds], **LAYERS[layer])
        found = loss_and_gradients(model, guide, batch)
        assert draws.pop() == (3,)
        with generic_loop():
            expected = loss_and_gradients(model, guide, batch)
        assert not draws
        require_equal(found, expected, tolerance)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2 * LENGTH + 2), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.sampled_from([0.0, 0.4])
)
def test_any_sizes_do(steps, sequences, particles, latent_size, input_dropout):
    model, guide, batch = numbers(
        torch.float64, steps, sequences, latent_size=latent_size, input_dropout=input_dropout, hidden_size=latent_size
    )
    objective = ZForcingIWAE(0.3, 0.7, num_particles=particles)
    found = loss_and_gradients(model, guide, batch, objective)
    with generic_loop():
        expected = loss_and_gradients(model, guide, batch, objective)
    require_equal(found, expected, 1e-11)


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    steps, sequences, particles, latent, hidden, units = LENGTH + 1, 2, 2, 2, 3, 3
    shapes = [
        (1, steps, sequences, units),
        (particles, steps, sequences, 4 * hidden),
        (particles, sequences, hidden),
        (particles, sequences, hidden),
        (4 * hidden, 4 + hidden),
        (units, hidden),
        (2 * latent, units),
        (2 * latent,),
        (4, latent),
        (4,),
    ]
    tensors = [0.5 * torch.randn(shape, dtype=torch.float64) for shape in shapes]
    clip = choice.Clip(0.3, 3.0)
    rest = True, choice.Clips(clip, clip, 4.0), torch.randn(particles, steps, sequences, latent, dtype=torch.float64)
    leaves = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *leaves: LSTMGaussian.apply(*rest, *leaves), leaves, fast_mode=True)


@pytest.fixture
def buffers(monkeypatch):
    """Weak references to a buffer of every window that is made."""
    found = []

    def empty(*args, made=Window.empty):
        window = made(*args)
        found.append(weakref.ref(window.gates))
        return window

    monkeypatch.setattr(Window, "empty", empty)
    return found


def alive(references):
    return [each for each in references if each() is not None]


def with_hook(model, guide):
    model.transition.recurrent.register_forward_hook(lambda module, args, output: 0.5 * output)


def with_backward_hook(model, guide):
    guide.posterior.network[2].register_full_backward_hook(lambda module, inputs, outputs: None)


def with_replaced_update(model, guide):
    model.transition.update = model.transition.update


def with_subclassed_posterior(model, guide):
    class Wider(DiagonalGaussian):
        def law(self, parameters):
            return super().law(2 * parameters)

    guide.posterior.__class__ = Wider


def with_another_activation(model, guide):
    guide.posterior.network[1] = nn.Tanh()


def with_a_bounded_mean(model, guide):
    guide.posterior.mean = "tanh"


def with_subclassed_activation(model, guide):
    class Doubled(ClippedLeakyReLU):
        def forward(self, x):
            return 2 * super().forward(x)

    model.transition.from_latent[1] = Doubled()


def with_a_wider_context(model, guide):
    guide.posterior = DiagonalGaussian({"hidden": 8, "latent": 3, "encoding": 8}, 3, hidden=5).double()


def with_a_linear_posterior(model, guide):
    guide.posterior = DiagonalGaussian({"hidden": 8, "encoding": 8}, 3).double()


def with_no_bias(model, guide):
    guide.posterior.network[2] = nn.Linear(5, 6, bias=False).double()


def with_no_bias_before(model, guide):
    model.transition.from_latent[0] = nn.Linear(3, 5, bias=False).double()


def with_a_bias_more(model, guide):
    model.transition.recurrent = nn.Linear(8, 32).double()


def with_a_sequence_of_ones_own(model, guide):
    class Tripled(nn.Sequential):
        def forward(self, x):
            return 3 * super().forward(x)

    guide.posterior.network = Tripled(*guide.posterior.network)


def with_a_falling_activation(model, guide):
    guide.posterior.network[1] = ClippedLeakyReLU(-0.2)


CHANGES = [value for name, value in list(globals().items()) if name.startswith("with_")]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_it_does_not_serve_runs_the_generic_loop(change, draws):
    model, guide = tiny_pair()
    change(model, guide)
    batch = tiny_batch()
    found = loss_and_gradients(model, guide, batch)
    assert not draws
    require_equal(found, loss_and_gradients(model, guide, batch, form="step"), 1e-12)


def test_a_hook_on_all_modules_runs_the_generic_loop(draws):
    model, guide = tiny_pair()
    hook = nn.modules.module.register_module_forward_hook(lambda module, args, output: None)
    try:
        loss_and_gradients(model, guide, tiny_batch())
    finally:
        hook.remove()
    assert not draws


@pytest.mark.parametrize("options", [{"family": "vrnn"}, {"transition": "gru"}, {"guide": "prior"}, {"num_layers": 2}])
def test_other_families_run_the_generic_loop(options, draws):
    model, guide = tiny_pair(**options)
    alpha = 0.0 if guide.auxiliary is None else 0.3
    loss_and_gradients_of = ZForcingELBO(alpha)(model, guide)
    assert loss_and_gradients_of(tiny_batch(), form="path").isfinite()
    assert not draws


def fitting_parts():
    """Parts that fit together, by the names of all three."""
    for family, guide, transition in product(FAMILIES, ("", *SHORT_GUIDES), ("", *TRANSITIONS)):
        with suppress(InputError):
            yield ModelConfig(**SIZES, family=family, guide=guide, transition=transition)


FITTING = {f"{each.family}-{each.guide}-{each.transition}": each for each in fitting_parts()}


@pytest.mark.parametrize("config", FITTING.values(), ids=FITTING)
def test_the_obstacle_that_is_told_is_what_runs(config, draws):
    model, guide = build(config, Observation("categorical", VOCABULARY))
    ZForcingELBO(0.0)(model, guide)(tiny_batch(), form="path")
    assert bool(draws) == (not choice.obstacle(model.transition, guide.posterior))


def test_under_autocast_it_is_the_generic_loop():
    model, guide = tiny_pair()
    batch = tiny_batch()
    known, embedded = Context(encoding=guide.encode(batch)), model.embed_inputs(batch, None)
    assert choice.kernel_for(model.transition, guide.posterior, known, embedded) is not None
    with torch.autocast("cpu", torch.bfloat16):
        assert choice.kernel_for(model.transition, guide.posterior, known, embedded) is None


def test_without_gradients_it_draws_the_same_path_and_keeps_nothing(draws, buffers):
    _, guide = tiny_pair()
    batch = tiny_batch((40, 17, 3))
    with noise(1):
        z = guide(batch, form="path")
    assert len(buffers) == len(alive(buffers)) == 3
    buffers.clear()
    with torch.no_grad(), noise(1):
        assert torch.equal(guide(batch, form="path"), z)
    assert len(draws) == 2
    assert len(buffers) == 3
    assert not alive(buffers)


@pytest.mark.parametrize("backward", [False, True])
def test_nothing_outlives_the_loss(backward, buffers):
    model, guide = tiny_pair()
    gc.collect()
    gc.disable()
    try:
        loss = ZForcingELBO(0.1, 0.1)(model, guide)(tiny_batch(), form="path")
        assert alive(buffers)
        if backward:
            loss.backward()
        else:
            del loss
        assert not alive(buffers)
    finally:
        gc.enable()


def test_sequences_do_not_touch_each_other():
    _, guide, batch = numbers(torch.float64, 20, 3)
    targets = batch.targets.clone()
    targets[4, 1] += 100
    with torch.no_grad(), noise(1):
        clean = guide(batch, form="path")
    with torch.no_grad(), noise(1):
        changed = guide(SequenceBatch(batch.inputs, targets, batch.mask), form="path")
    assert not torch.equal(changed[:, 1], clean[:, 1])
    assert torch.equal(changed[:, [0, 2]], clean[:, [0, 2]])


def test_a_second_derivative_is_refused():
    model, guide = tiny_pair()
    loss = ZForcingELBO()(model, guide)(tiny_batch(), form="path")
    weight = model.transition.recurrent.weight
    (gradient,) = torch.autograd.grad(loss, [weight], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_weight_that_was_written_over_is_noticed():
    model, guide = tiny_pair()
    loss = ZForcingELBO()(model, guide)(tiny_batch(), form="path")
    with torch.no_grad():
        guide.posterior.network[2].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_graph_can_be_kept_for_a_second_pass():
    model, guide = tiny_pair()
    loss = ZForcingELBO(0.3, 0.7)(model, guide)(tiny_batch(), form="path")
    parameters = list(all_parameters(model, guide).values())
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    second = torch.autograd.grad(loss, parameters)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_what_is_known_of_the_path_is_what_the_generic_loop_leaves():
    _, guide = tiny_pair()
    batch = tiny_batch()

    def known():
        torch.manual_seed(0)
        law = guide.path_law(batch)
        value = law.rsample()
        return value, law.states.along(value).steps.context(["hidden", "latent", "input", "feature"])

    value, context = known()
    with generic_loop():
        other_value, other_context = known()
    assert torch.allclose(value, other_value, rtol=1e-12)
    for name in ("hidden", "latent", "input", "feature"):
        ours, theirs = getattr(context, name), getattr(other_context, name)
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    assert context.encoding is None
