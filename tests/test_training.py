"""The trainer: its steps, its state, and what it does when numbers go wrong."""

import copy
import io
import math

import numpy as np
import pyro
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyro.infer import SVI

from tests.tiny import SIZES, VOCABULARY, all_parameters, padded
from zf_pyro import Linear, ZForcingELBO
from zf_pyro.build import build
from zf_pyro.config import Config, ModelConfig, ObjectiveConfig, TrainingConfig
from zf_pyro.data import loader
from zf_pyro.data.corpus import Observation
from zf_pyro.data.loader import epoch_batches, ordered_batches, subset
from zf_pyro.errors import TrainingError
from zf_pyro.softmax import Softmax
from zf_pyro.streams import Streams, stream_seed
from zf_pyro.training import Trainer


class Words:
    """A split of random sentences."""

    def __init__(self, size, seed):
        random = np.random.default_rng(seed)
        self.words = [torch.from_numpy(random.integers(4, VOCABULARY, random.integers(2, 7))) for _ in range(size)]

    @property
    def lengths(self):
        return np.array([len(sentence) for sentence in self.words])

    def of_epoch(self, seed, epoch):
        return self

    def batch(self, indices):
        words = [self.words[i] for i in indices]
        return padded(words, max(map(len, words)))


def make_trainer(seed=0, train=40, device="cpu", objective=None, **options):
    config = Config(
        "imdb",
        "quick",
        seed=seed,
        model=ModelConfig(**SIZES, input_dropout=0.2),
        objective=objective or ObjectiveConfig(alpha=0.1, beta=0.1, kl_start=0.2, kl_steps=6),
        training=TrainingConfig(**{"batch_size": 8, "epochs": 2, "validation_particles": 2, **options}),
    )
    pyro.set_rng_seed(seed)
    model, guide = build(config.model, Observation("categorical", VOCABULARY))
    return Trainer(model.to(device), guide.to(device), config, Words(train, 1), Words(12, 2))


def run(trainer, stop_at=None):
    records = []

    def on_step(record):
        records.append(record)
        return trainer.step == stop_at

    finished = trainer.fit(on_step, records.append)
    return records, finished


def test_segments_of_time_change_nothing_but_rounding():
    found = []
    for count in (1, 3):
        trainer = make_trainer(checkpoint_segments=count)
        records, _ = run(trainer)
        found.append((records, [p.detach().clone() for p in trainer.parameters]))
    (records, parameters), (other_records, other_parameters) = found
    for record, other in zip(records, other_records, strict=True):
        assert record == pytest.approx(other, rel=1e-3)
    for ours, theirs in zip(parameters, other_parameters, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-2, atol=1e-4)


def saved_and_read(state):
    """A state through the file format of checkpoints."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("form", ["step", "path"])
def test_twenty_steps_of_svi_are_twenty_steps_of_the_trainer(form):
    trainer = make_trainer(max_steps=20, epochs=9, clip_norm=0.0, batch_size=8, validate_every=100, form=form)
    model, guide = copy.deepcopy(trainer.model), copy.deepcopy(trainer.guide)
    guide._model = (model,)
    pyro.clear_param_store()
    records, finished = run(trainer)
    assert finished
    objective = ZForcingELBO(alpha=0.1, beta=0.1, gamma=Linear(0.2, 1.0, 6), count=8)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3, "eps": 1e-5}), objective)
    batches = [b for epoch in range(4) for b in epoch_batches(trainer.train.lengths, 8, 0, epoch)]
    losses = []
    for number, places in enumerate(batches):
        batch = trainer.train.batch(places)
        seeds = [stream_seed(0, number, place) for place in places.tolist()]
        with Streams(seeds, batch.lengths.tolist(), batch.num_steps, torch.device("cpu")):
            losses.append(svi.step(batch, form=form))
    pyro.clear_param_store()
    ours = [record["loss"] for record in records if "loss" in record]
    assert ours == pytest.approx(losses, rel=1e-6)
    theirs = all_parameters(model, guide)
    for name, parameter in all_parameters(trainer.model, trainer.guide).items():
        assert torch.allclose(parameter, theirs[name], rtol=1e-5, atol=1e-7), name


def test_the_same_seed_gives_the_same_run_and_another_another():
    runs = [run(make_trainer(seed=seed))[0] for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("stop_at", [1, 3, 5, 7])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(stop_at):
    whole = make_trainer(validate_every=3)
    expected, _ = run(whole)
    first = make_trainer(validate_every=3)
    records, finished = run(first, stop_at)
    assert not finished
    state = saved_and_read(first.state())
    second = make_trainer(seed=0, validate_every=3)
    torch.manual_seed(99)
    second.load_state(state)
    more, finished = run(second)
    assert finished
    assert records + more == expected
    for name, value in all_parameters(whole.model, whole.guide).items():
        assert torch.equal(value, all_parameters(second.model, second.guide)[name]), name
    assert second.best.step == whole.best.step
    assert all(torch.equal(value, whole.best.model[name]) for name, value in second.best.model.items())


@pytest.mark.parametrize("validate_every", [0, 2])
def test_every_checkpoint_of_a_validation_can_be_resumed(validate_every):
    """What a hard stop right after a checkpoint leaves, at the end of an epoch among others."""
    options = {"validate_every": validate_every, "epochs": 3, "max_steps": 13}
    whole, states = make_trainer(**options), []
    records = []
    whole.fit(lambda record: records.append(record), lambda record: states.append(saved_and_read(whole.state())))
    assert len(states) > 2
    for state in states:
        resumed = make_trainer(**options)
        resumed.load_state(state)
        more, finished = run(resumed)
        assert finished
        steps = [record for record in more if "loss" in record]
        assert steps == records[len(records) - len(steps) :]
        assert all(torch.equal(p, q) for p, q in zip(resumed.parameters, whole.parameters, strict=True))


def test_training_improves_the_bound():
    trainer = make_trainer(train=200, epochs=4, learning_rate=0.01)
    records, _ = run(trainer)
    bounds = [record["valid_iw_bound"] for record in records if "valid_iw_bound" in record]
    assert len(bounds) == 4
    assert {record["valid_sequences"] for record in records if "valid_sequences" in record} == {12}
    assert bounds[-1] > bounds[0]
    losses = [record["loss"] for record in records if "loss" in record]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_the_best_parameters_are_those_of_the_best_validation(monkeypatch):
    trainer = make_trainer(epochs=4)
    bounds = iter([-10.0, -8.0, -9.0, -8.5])
    kept = []
    real = trainer.bound_of_validation

    def fake():
        kept.append({name: p.detach().clone() for name, p in trainer.model.named_parameters()})
        return real().__class__(1, 1, -11.0, 0.0, next(bounds), 0.0, 1, 0.0)

    monkeypatch.setattr(trainer, "bound_of_validation", fake)
    records, _ = run(trainer)
    assert trainer.best.step == 10
    assert all(torch.equal(trainer.best.model[name], p) for name, p in kept[1].items())
    rates = [record["learning_rate"] for record in records if "learning_rate" in record]
    assert rates == pytest.approx([1e-3] * 15 + [5e-4] * 5)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(2.5e-4)


def test_the_learning_rate_stops_at_its_least(monkeypatch):
    trainer = make_trainer(epochs=9, min_learning_rate=4e-4)
    bounds = iter(range(0, -100, -1))
    worse = trainer.bound_of_validation().__class__
    monkeypatch.setattr(trainer, "bound_of_validation", lambda: worse(1, 1, -200.0, 0.0, next(bounds), 0.0, 1, 0.0))
    run(trainer)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(4e-4)


def test_gamma_follows_its_schedule():
    records, _ = run(make_trainer())
    gammas = [record["gamma"] for record in records if "gamma" in record]
    assert gammas == pytest.approx([min(1.0, 0.2 + 0.8 * step / 6) for step in range(10)])


def test_a_kl_term_of_weight_zero_leaves_the_elbo_out_of_the_record():
    trainer = make_trainer(objective=ObjectiveConfig(kl_start=0.0, kl_steps=5))
    records, _ = run(trainer)
    assert "elbo" not in records[0]
    assert records[1]["elbo"] == pytest.approx(records[1]["reconstruction"] - records[1]["kl"])


def test_the_global_norm_is_clipped(monkeypatch):
    trainer = make_trainer(clip_norm=1e-3)
    norms = []
    step = trainer.optimizer.step

    def spy():
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in trainer.parameters if p.grad is not None)))
        step()

    monkeypatch.setattr(trainer.optimizer, "step", spy)
    records, _ = run(trainer)
    assert norms == pytest.approx([1e-3] * 10, rel=1e-3)
    assert all(record["gradient_norm"] > 1e-3 for record in records if "loss" in record)


def poison(trainer, steps):
    """Make the loss of the given steps infinite."""
    emission = trainer.model.emission
    forward = emission.forward

    def poisoned(context):
        law = forward(context)
        if trainer.model.training and trainer.step in steps:
            return Softmax(law.logits * float("nan"))
        return law

    emission.forward = poisoned


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted():
    trainer = make_trainer()
    poison(trainer, {3, 4})
    before = {}
    seen, skipped = [], []

    def on_step(record):
        now = {name: p.detach().clone() for name, p in all_parameters(trainer.model, trainer.guide).items()}
        seen.append(all(torch.equal(now[name], p) for name, p in before.items()) if before else False)
        before.update(now)
        skipped.append(record["skipped"])
        return False

    with pyro.validation_enabled(False):
        trainer.fit(on_step, lambda record: None)
    assert seen == [False, False, False, True, True, False, False, False, False, False]
    assert trainer.skipped == 2
    assert skipped == [0, 0, 0, 1, 2, 2, 2, 2, 2, 2]


def test_twenty_bad_steps_in_a_row_end_the_run():
    trainer = make_trainer(epochs=9)
    poison(trainer, set(range(2, 99)))
    with pyro.validation_enabled(False), pytest.raises(TrainingError, match="20 steps in a row up to step 22 "):
        run(trainer)


def test_a_split_smaller_than_a_batch_is_one_batch():
    trainer = make_trainer(train=5, epochs=3)
    records, finished = run(trainer)
    assert finished
    assert trainer.step == 3
    assert trainer.elbo.count == 5
    assert sum("valid_elbo" in record for record in records) == 3


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 99), st.integers(0, 9)
)
def test_batches_of_an_epoch(lengths, size, seed, epoch):
    lengths = np.array(lengths)
    batches = epoch_batches(lengths, size, seed, epoch)
    seen = np.concatenate(batches)
    assert len(set(seen.tolist())) == len(seen)
    assert len(seen) == (len(lengths) if len(lengths) < size else len(lengths) // size * size)
    again = epoch_batches(lengths, size, seed, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_no_sentence_is_always_left_out():
    lengths = np.arange(100)
    seen = set(np.concatenate([np.concatenate(epoch_batches(lengths, 32, 0, epoch)) for epoch in range(20)]).tolist())
    assert seen == set(range(100))


def test_epochs_differ_and_batches_hold_similar_lengths():
    lengths = np.random.default_rng(0).integers(6, 18, 5000)
    first, second = (epoch_batches(lengths, 32, 0, epoch) for epoch in (0, 1))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    padding = np.mean([lengths[b].max() - lengths[b].mean() for b in first])
    assert padding < 1.0


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 9))
def test_subset_is_seeded_distinct_and_of_the_size_wanted(size, wanted, seed):
    chosen = subset(size, wanted, seed)
    assert len(set(chosen.tolist())) == len(chosen) == (min(size, wanted) if wanted else size)
    assert np.array_equal(chosen, subset(size, wanted, seed))


def test_evaluation_sees_every_sequence_once():
    split = Words(21, 0)
    batches = list(ordered_batches(split, np.arange(21), 4))
    assert [batch.num_sequences for batch in batches] == [4, 4, 4, 4, 4, 1]
    assert sum(int(batch.lengths.sum()) for batch in batches) == split.lengths.sum()


def test_an_epoch_is_drawn_by_the_seed_of_the_run_and_its_number():
    trainer = make_trainer(seed=3, epochs=2)
    asked = []
    split = trainer.train
    split.of_epoch = lambda *key: asked.append(key) or split
    run(trainer)
    assert asked == [(3, 0), (3, 1)]


def test_batches_of_long_sequences_are_smaller(monkeypatch):
    monkeypatch.setattr(loader, "MAX_STEPS", 14)
    split = Words(21, 3)
    batches = list(ordered_batches(split, np.arange(21), 4))
    assert sum(batch.num_sequences for batch in batches) == 21
    assert sorted(n for batch in batches for n in batch.lengths.tolist()) == sorted(split.lengths.tolist())
    for batch in batches:
        assert batch.num_sequences == 1 or batch.mask.numel() <= 14
    monkeypatch.setattr(loader, "MAX_STEPS", 1)
    assert all(batch.num_sequences == 1 for batch in ordered_batches(split, np.arange(21), 4))


def test_a_validation_that_is_not_a_number_is_no_best(monkeypatch):
    trainer = make_trainer(epochs=3)
    bounds = iter([math.nan, -9.0, math.nan])
    kind = trainer.bound_of_validation().__class__
    monkeypatch.setattr(trainer, "bound_of_validation", lambda: kind(1, 1, -9.0, 0.0, next(bounds), 0.0, 1, 0.0))
    run(trainer)
    assert trainer.best.step == 10
