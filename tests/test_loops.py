"""Linear maps in a loop: the same numbers and gradients as without the machinery."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zf_pyro import loops
from zf_pyro.loops import add_product, loop_linear


@pytest.fixture(autouse=True, scope="module")
def _any_size():
    """Let every weight be a large one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "LARGE", 0)
        yield


def recurrence(product, x, steps):
    """A small recurrent network around `product`, which gives outputs of twice the inputs' size."""
    outputs = []
    for _ in range(steps):
        y = product(x)
        x = torch.tanh(y[..., : x.shape[-1]])
        outputs.append(y)
    return torch.stack(outputs)


def gradients(make, base, weight, start, steps):
    leaves = [tensor.clone().requires_grad_() for tensor in (base, weight, start)]
    out = recurrence(make(leaves[0], leaves[1]), leaves[2], steps)
    return out.detach(), torch.autograd.grad(out.sin().sum(), leaves)


def plain(base, weight):
    """The same map, left to automatic differentiation."""
    bases = iter(base.unbind(-3)) if base.dim() > 1 else None
    return lambda x: (base if bases is None else next(bases)) + x @ weight.T


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["bias", "steps", "steps of particles"]),
    st.sampled_from([(), (2,), (3, 2)]),
)
def test_values_and_gradients_are_those_of_the_formula(steps, sequences, size, kind, particles):
    torch.manual_seed(0)
    if kind == "steps of particles":
        particles = (2,)
    shape = {
        "bias": (2 * size,),
        "steps": (steps, sequences, 2 * size),
        "steps of particles": (2, steps, sequences, 2 * size),
    }[kind]
    base, weight, start = (
        torch.randn(*each, dtype=torch.float64) for each in (shape, (2 * size, size), (*particles, sequences, size))
    )
    out, found = gradients(loop_linear, base, weight, start, steps)
    expected_out, expected = gradients(plain, base, weight, start, steps)
    assert torch.allclose(out, expected_out, rtol=1e-12)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [3, 64, 70])
def test_either_order_of_the_product_gives_the_same_numbers(rows):
    torch.manual_seed(0)
    base, start = torch.randn(2, rows, 8, dtype=torch.float64), torch.randn(rows, 4, dtype=torch.float64)
    weight = torch.randn(8, 4, dtype=torch.float64)
    assert loops.few_rows(start, weight) == (rows <= 64)
    out, found = gradients(loop_linear, base, weight, start, 2)
    expected_out, expected = gradients(plain, base, weight, start, 2)
    assert torch.allclose(out, expected_out, rtol=1e-12)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10)
        assert ours.is_contiguous()


def test_large_weights_and_few_rows_are_told_by_their_sizes(monkeypatch):
    monkeypatch.setattr(loops, "LARGE", 2**17)
    large, small = torch.empty(1024, 512), torch.empty(8, 4)
    assert loops.few_rows(torch.empty(32, 512), large)
    assert not loops.few_rows(torch.empty(65, 512), large)
    assert not loops.few_rows(torch.empty(2, 32, 512), large)
    assert not loops.few_rows(torch.empty(32, 4), small)


def test_steps_that_nothing_depends_on_have_no_gradient():
    base, weight = torch.randn(3, 2, 4, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    product = loop_linear(base, weight)
    x = torch.randn(2, 2)
    used = [product(x) for _ in range(3)][1]
    used.sum().backward()
    assert torch.equal(base.grad, torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1).expand(3, 2, 4))
    assert torch.allclose(weight.grad, x.sum(0).expand(4, 2))


def test_gradients_can_be_taken_again_from_a_kept_graph():
    base, weight, start = torch.randn(3, 2, 4), torch.randn(4, 2, requires_grad=True), torch.randn(2, 2)
    loss = recurrence(loop_linear(base, weight), start, 3).sum()
    first = torch.autograd.grad(loss, weight, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(loss, weight)[0], first)


def test_a_backward_pass_that_stops_early_leaves_nothing_for_the_next():
    weight, start = torch.randn(4, 2, requires_grad=True), torch.randn(2, 2, requires_grad=True)
    product = loop_linear(torch.randn(3, 2, 4), weight)
    outputs = [product(start) for _ in range(3)]
    torch.autograd.grad(sum(each.sum() for each in outputs), start, retain_graph=True)
    (found,) = torch.autograd.grad(outputs[0].sum(), weight)
    assert torch.allclose(found, start.detach().sum(0).expand(4, 2))


def test_second_derivatives_are_refused():
    weight = torch.randn(4, 2, requires_grad=True)
    loss = recurrence(loop_linear(torch.randn(3, 2, 4), weight), torch.randn(2, 2), 3).sum()
    with pytest.raises(RuntimeError, match="those of the step form can"):
        torch.autograd.grad(loss, weight, create_graph=True)


@pytest.mark.parametrize("changed", ["weight", "input"])
def test_numbers_written_over_before_the_gradient_are_noticed(changed):
    weight = torch.randn(4, 2, requires_grad=True)
    x = torch.randn(2, 2)
    out = loop_linear(torch.randn(1, 2, 4), weight)(x)
    with torch.no_grad():
        {"weight": weight, "input": x}[changed].mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()


def test_a_frozen_weight_written_over_is_noticed():
    weight, x = torch.randn(4, 2), torch.randn(3, 2, requires_grad=True)
    out = loop_linear(torch.randn(4), weight)(x)
    weight.mul_(100)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()


def test_frozen_weights_let_the_gradient_of_the_inputs_through():
    weight, x = torch.randn(4, 2), torch.randn(3, 2, requires_grad=True)
    loop_linear(torch.randn(4), weight)(x).sum().backward()
    assert torch.allclose(x.grad, weight.sum(0).expand(3, 2))


def test_without_gradients_nothing_is_recorded(monkeypatch):
    monkeypatch.setattr(loops, "Record", None)
    base, weight, x = torch.randn(1, 3, 4), torch.randn(4, 2, requires_grad=True), torch.randn(3, 2)
    with torch.no_grad():
        assert torch.allclose(loop_linear(base, weight)(x), base[0] + x @ weight.T)


@pytest.mark.parametrize("large", [0, 10**9], ids=["large", "small"])
@pytest.mark.parametrize("rows", [3, 70])
def test_under_autocast_the_factors_alone_are_rounded(rows, large, monkeypatch):
    """Of whole numbers below 16 no product or sum is rounded, so that but for the factors all is exact."""
    monkeypatch.setattr(loops, "LARGE", large)
    torch.manual_seed(0)
    steps, fine = 300, 2.0**-20  # which bfloat16 cannot tell beside 1
    base = (torch.randint(-9, 9, (steps, rows, 4)) + fine).requires_grad_()
    weight, x = ((torch.randint(1, 3, shape) + fine).requires_grad_() for shape in ((4, 2), (rows, 2)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = loop_linear(base, weight)
        found = torch.stack([product(x) for _ in range(steps)])
    assert found.dtype == torch.float32
    assert torch.equal(found, base + (x.round() @ weight.round().T))
    found.sum().backward()
    assert torch.equal(base.grad, torch.ones_like(base))
    assert torch.allclose(weight.grad, steps * x.detach().round().sum(0).expand(4, 2), rtol=2**-8)
    assert torch.allclose(x.grad, steps * weight.detach().round().sum(0).expand(rows, 2), rtol=1e-6)


def test_double_precision_is_left_to_itself_under_autocast():
    base, weight, x = (torch.randn(*shape, dtype=torch.float64) for shape in ((4,), (4, 2), (3, 2)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loop_linear(base, weight.requires_grad_())(x)
    assert torch.equal(found, base + x @ weight.T)


def test_small_weights_are_left_to_automatic_differentiation(monkeypatch):
    monkeypatch.setattr(loops, "LARGE", 9)
    monkeypatch.setattr(loops, "Record", None)
    loop_linear(torch.randn(1, 3, 4), torch.randn(4, 2, requires_grad=True))(torch.randn(3, 2)).sum().backward()
    with pytest.raises(TypeError):
        loop_linear(torch.randn(1, 3, 5), torch.randn(5, 2, requires_grad=True))


@pytest.mark.parametrize("shape", [(3, 2), (5, 3, 2)])
@pytest.mark.parametrize("base", [(4,), (3, 4)])
def test_add_product_of_any_leading_shape(shape, base):
    x, weight, added = torch.randn(*shape), torch.randn(4, 2), torch.randn(*base)
    assert torch.allclose(add_product(added, x, weight.t()), added + x @ weight.T, atol=1e-6)
