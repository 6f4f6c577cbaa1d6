"""The same code on a GPU."""

import numpy as np
import pyro
import pytest
import torch

from tests.test_precision import PAIRS, check
from tests.test_precision import make as make_parts
from tests.test_synchronisation import OBJECTIVES
from tests.test_synchronisation import make as make_update
from tests.test_training import make_trainer, run, saved_and_read
from tests.tiny import all_parameters, tiny_batch, tiny_pair
from zf_pyro import ZForcingELBO, ZForcingFIVO, estimate_bound, filter_particles, loops, training
from zf_pyro.benchmark import measure, report
from zf_pyro.noise import Beforehand, noise
from zf_pyro.precision import matmul_precision
from zf_pyro.scopes import local_parameters

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
]


def test_training_improves_the_bound_and_resumes():
    whole = make_trainer(train=200, epochs=4, learning_rate=0.01, device="cuda")
    records, finished = run(whole)
    assert finished
    bounds = [record["valid_iw_bound"] for record in records if "valid_iw_bound" in record]
    assert bounds[-1] > bounds[0]
    first = make_trainer(train=200, epochs=4, learning_rate=0.01, device="cuda")
    run(first, stop_at=30)
    second = make_trainer(train=200, epochs=4, learning_rate=0.01, device="cuda")
    second.load_state(saved_and_read(first.state()))
    more, _ = run(second)
    assert more[-1]["valid_iw_bound"] == pytest.approx(bounds[-1], rel=1e-3)


def test_the_estimate_leaves_the_random_state_of_the_gpu():
    trainer = make_trainer(device="cuda")
    before = torch.cuda.get_rng_state()
    first = estimate_bound(trainer.model, trainer.guide, [tiny_batch()], 5)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert estimate_bound(trainer.model, trainer.guide, [tiny_batch()], 5) == first


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_the_benchmark_measures_the_memory_of_the_gpu(device):
    task = report.task("text", "path_form", torch.device(device), steps=2)
    assert measure.peak_memory(task) > 80  # parameters, gradients and Adam's moments


@pytest.mark.parametrize("large", [0, 10**9])
def test_both_forms_give_the_same_loss_and_gradients(large, monkeypatch):
    monkeypatch.setattr(loops, "LARGE", large)
    model, guide = tiny_pair(input_dropout=0.3)
    model, guide = model.cuda(), guide.cuda()
    results = []
    for form in ("step", "path"):
        model.zero_grad()
        guide.zero_grad()
        torch.manual_seed(0)
        with local_parameters(), noise(1):
            loss = ZForcingELBO(0.3, 0.7)(model, guide)(tiny_batch().to("cuda"), form=form)
        loss.backward()
        results.append((loss.item(), {name: p.grad.clone() for name, p in all_parameters(model, guide).items()}))
    (loss, gradients), (other_loss, other_gradients) = results
    assert loss == pytest.approx(other_loss, rel=1e-10)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, other_gradients[name], rtol=1e-8, atol=1e-10), name


def test_the_particle_filter_trains_and_is_the_evaluators():
    model, guide = tiny_pair()
    model, guide, batch = model.cuda(), guide.cuda(), tiny_batch((6, 2, 4)).to("cuda")
    torch.manual_seed(0)
    with local_parameters():
        loss = ZForcingFIVO(num_particles=4, threshold=0.9)(model, guide)(batch, form="path")
    loss.backward()
    torch.manual_seed(0)
    found = filter_particles(model, guide, batch, 4, threshold=0.9, standard=Beforehand(6))
    assert found.resampled.any()
    assert -loss.item() == pytest.approx(found.log_likelihood.sum().item(), rel=1e-10)
    gradients = [p.grad for p in all_parameters(model, guide).values() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


def update_once_waiting(trainer, batch, monkeypatch):
    """An update in which whatever waits for the device raises, but for its one fetch; the number of those."""
    fetch, fetches = training.fetch, []

    def waited_for(values):
        fetches.append(len(values))
        torch.cuda.set_sync_debug_mode("default")
        try:
            return fetch(values)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    with monkeypatch.context() as patch, local_parameters(), pyro.validation_enabled(False):
        trainer.update(np.arange(3), batch)  # which starts libraries and makes Adam's moments
        torch.cuda.synchronize()
        patch.setattr(training, "fetch", waited_for)
        torch.cuda.set_sync_debug_mode("error")
        try:
            trainer.update(np.arange(3), batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return len(fetches)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "emission"), PAIRS, ids=map("-".join, PAIRS))
def test_an_update_of_every_family_waits_once(family, emission, precision, monkeypatch):
    trainer, batch = make_update(emission, training={"precision": precision}, device="cuda", family=family)
    assert update_once_waiting(trainer, batch, monkeypatch) == 1


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "fivo"])
def test_an_update_of_every_objective_waits_once(name, monkeypatch):
    trainer, batch = make_update(objective=OBJECTIVES[name], device="cuda")
    assert update_once_waiting(trainer, batch, monkeypatch) == 1


@pytest.mark.parametrize(("family", "emission"), PAIRS, ids=map("-".join, PAIRS))
def test_bfloat16_is_float32_up_to_rounded_products(family, emission):
    with local_parameters(), pyro.validation_enabled(False):
        check(make_parts(emission, device="cuda", family=family))


def test_high_is_tf32():
    torch.manual_seed(0)
    x = torch.randn(256, 256, device="cuda")
    exact, size = x.double() @ x.double(), x.double().abs() @ x.double().abs()
    with matmul_precision("highest"):
        fine = ((x @ x - exact).abs() / size).max()
    with matmul_precision("high"):
        coarse = ((x @ x - exact).abs() / size).max()
    assert 10 * fine < coarse < 2**-9  # two factors, each cut to 10 bits behind the point
