"""The same code on a GPU."""

import pytest
import torch

from tests.test_training import make_trainer, run, saved_and_read
from tests.tiny import tiny_batch
from zf_pyro import estimate_bound

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
