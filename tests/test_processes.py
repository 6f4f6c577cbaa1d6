"""Several processes at the work of one."""

import numpy as np
import pytest
import torch

from tests.several import together
from tests.test_training import SIZES, VOCABULARY, Words, run
from zf_pyro import processes
from zf_pyro.bounds import filter_bounds, sequence_bounds
from zf_pyro.build import build
from zf_pyro.config import Config, ModelConfig, ObjectiveConfig, TrainingConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.data.loader import by_length, ordered_batches
from zf_pyro.errors import InputError
from zf_pyro.scopes import local_parameters
from zf_pyro.training import Trainer

Z_FORCING = {"alpha": 0.1, "beta": 0.1, "kl_start": 0.2, "kl_steps": 6}
CASES = {
    "elbo": {},
    "without the added terms": {"objective": {"alpha": 0.0, "beta": 0.0}},
    "free bits": {"objective": {"free_bits": 0.1, "kl_balance": 0.8}},
    "three particles": {"objective": {"train_particles": 3}},
    "iwae": {"objective": {"objective": "iwae", "train_particles": 3}},
    "dreg": {"objective": {"objective": "dreg", "train_particles": 3}},
    "fivo": {"objective": {"objective": "fivo", "train_particles": 3}},
    "step form": {"training": {"form": "step"}},
    "segments": {"training": {"checkpoint_segments": 2}},
    "gru": {"model": {"transition": "gru"}},
    "srnn": {"model": {"family": "srnn"}, "objective": {"beta": 0.0}},
    "flow": {"model": {"prior": "flow", "guide": "backward-flow"}},
    "odd batches": {"training": {"batch_size": 7}},
    "one batch": {"training": {"batch_size": 64}},
}


def trainer_of(case, epochs=1):
    """A trainer in float64, whose settings are those of a case."""
    torch.set_default_dtype(torch.float64)
    options = CASES[case]
    config = Config(
        "imdb",
        "quick",
        model=ModelConfig(**SIZES, input_dropout=0.3, **options.get("model", {})),
        objective=ObjectiveConfig(**{**Z_FORCING, **options.get("objective", {})}),
        training=TrainingConfig(
            **{"batch_size": 8, "epochs": epochs, "validation_particles": 2, **options.get("training", {})}
        ),
    )
    torch.manual_seed(0)
    model, guide = build(config.model, Observation("categorical", VOCABULARY))
    return Trainer(model, guide, config, Words(20, 1), Words(11, 2))


def gradients(case):
    """The record of the second update, which has moments of Adam's and unequal lengths, and all gradients of it."""
    trainer = trainer_of(case)
    with local_parameters():
        for places, batch in trainer.remaining_batches():
            record = trainer.update(places, batch)
            if trainer.step == min(2, trainer.total_steps):
                break
    named = [*trainer.model.named_parameters("model"), *trainer.guide.named_parameters("guide")]
    return record, {name: each.grad for name, each in named if each.grad is not None}


def all_gradients():
    return {case: gradients(case) for case in CASES}


@pytest.fixture(scope="module")
def found():
    """The gradients that 1, 2 and 4 processes come to."""
    return {size: together(size, all_gradients) for size in (1, 2, 4)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [2, 4])
def test_gradients_of_several_processes_are_those_of_one(found, size, case):
    record, expected = found[1][0][case]
    assert expected
    for other, theirs in (each[case] for each in found[size]):
        assert other == pytest.approx(record, rel=1e-10, abs=1e-10)
        assert theirs.keys() == expected.keys()
        for name, gradient in expected.items():
            assert torch.allclose(theirs[name], gradient, rtol=1e-10, atol=1e-10), name


def trained():
    """A whole training: its records, and the parameters at the end."""
    trainer = trainer_of("elbo", epochs=3)
    records, finished = run(trainer)
    assert finished
    return records, [each.detach() for each in trainer.parameters]


def test_a_training_by_several_processes_is_that_of_one():
    [(expected, parameters)] = together(1, trained)
    assert sum("valid_iw_bound" in record for record in expected) == 3
    for records, theirs in together(2, trained):
        for record, other in zip(expected, records, strict=True):
            assert other == pytest.approx(record, rel=1e-9)
        for ours, other in zip(parameters, theirs, strict=True):
            assert torch.allclose(ours, other, rtol=1e-8, atol=1e-10)


def bounds(total):
    """The bounds of some sequences, of which this process takes its share."""
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    sizes = dict.fromkeys(SIZES, 16)  # by which no product rounds by the row, see zf_pyro.tiles
    model, guide = build(ModelConfig(**sizes), Observation("categorical", VOCABULARY))
    split = Words(total, 3)
    places = by_length(split, np.arange(total))
    batches = list(ordered_batches(split, processes.share(places), 4))
    weighted = sequence_bounds(model, guide, batches, 5).of_all(total)
    return [*weighted[1:], *filter_bounds(model, guide, batches, 5).of_all(total)]


@pytest.mark.parametrize("total", [41, 2, 1])
def test_bounds_by_several_processes_are_those_of_one_to_the_last_bit(total):
    [expected] = together(1, bounds, total)
    assert all(each.shape == (total,) for each in expected)
    for found in together(3, bounds, total):
        assert all(torch.equal(ours, other) for ours, other in zip(expected, found, strict=True))


def exchanged():
    """What the small functions give to each of three processes."""
    rank = processes.rank()
    order = []
    processes.one_after_the_first(lambda: order.append(rank))
    try:
        processes.require_same("the letters", "ab" if rank < 2 else "c")
        told = ""
    except InputError as error:
        told = str(error)
    return {
        "first": processes.is_first(),
        "any": [processes.any_of(rank == 1), processes.any_of(False)],
        "sum": processes.summed(torch.tensor([1.0, rank])),
        "from first": list(processes.from_first(f"of {rank}".encode())),
        "nothing": list(processes.from_first(b"")),
        "told": told,
        "order": order,
    }


def test_what_processes_tell_each_other():
    found = together(3, exchanged)
    assert [each["first"] for each in found] == [True, False, False]
    for rank, each in enumerate(found):
        assert each["any"] == [True, False]
        assert each["sum"].tolist() == [3, 3]
        assert bytes(each["from first"]) == b"of 0"
        assert each["nothing"] == []
        assert "the letters of the processes are not the same" in each["told"]
        assert each["order"] == [rank]
