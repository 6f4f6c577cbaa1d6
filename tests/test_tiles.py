"""Evaluation in tiles: what comes of a sequence depends on it, the seed and the number of particles alone."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.special import ndtr

import zf_pyro
from tests.tiny import VOCABULARY, padded, tiny_batch, tiny_pair
from zf_pyro import SequenceBatch
from zf_pyro.bounds import filter_bounds
from zf_pyro.build import build
from zf_pyro.config import ModelConfig
from zf_pyro.data.batch import MAX_STEPS
from zf_pyro.data.corpus import Observation
from zf_pyro.keyed import KeyedNormals, inside, keyed_uniforms, sequence_key, uniforms
from zf_pyro.tiles import PARTICLES, SEQUENCES, padded_length, particle_chunks, tile_size, tiles
from zf_pyro.weights import importance_weights, sequence_weights

# Numbers.


def test_uniform_numbers_lie_inside_and_do_not_depend_on_how_many():
    drawn = uniforms(3, 2**63 + 5, 7, 20_000)
    assert 0 < drawn.min() < drawn.max() < 1
    assert np.array_equal(drawn[:10], uniforms(3, 2**63 + 5, 7, 10))
    assert drawn.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * 20_000))
    for other in ((4, 2**63 + 5, 7), (3, 2**63 + 6, 7), (3, 2**63 + 5, 8)):
        assert not np.array_equal(drawn, uniforms(*other, 20_000))
    assert not np.array_equal(drawn, uniforms(3, 2**63 + 5, 7, 20_000, stream=0))
    for first in (1, 4, 11, 19_990):
        assert np.array_equal(drawn[first : first + 10], uniforms(3, 2**63 + 5, 7, 10, first=first))


def test_no_word_gives_0_or_1():
    least, most = inside(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert 0 < least < 1e-15
    assert most == 1 - least < 1


def test_normal_numbers_are_of_the_sequence_the_particle_and_the_step(monkeypatch):
    like = torch.zeros(2, 3, 4, dtype=torch.float64)
    normals = KeyedNormals(1, [10, 20, 30], range(5, 7), 6)
    steps = torch.stack([normals(like) for _ in range(6)])
    others = KeyedNormals(1, [30, 10], range(6, 9), 9)
    other = torch.stack([others(torch.zeros(3, 2, 4, dtype=torch.float64)) for _ in range(9)])
    assert torch.equal(steps[:, 1, 2], other[:6, 0, 0])
    assert torch.equal(steps[:, 1, 0], other[:6, 0, 1])
    monkeypatch.setattr("zf_pyro.keyed.MADE_TOGETHER", 2 * 3 * 4 * 2)
    blocks = KeyedNormals(1, [10, 20, 30], range(5, 7), 6)
    assert torch.equal(torch.stack([blocks(like) for _ in range(6)]), steps)
    single = KeyedNormals(1, [10, 20, 30], range(5, 7), 6)(like.float())
    assert torch.equal(single, steps[0].float())
    with pytest.raises(ValueError, match="more than 6 draws"):
        normals(like)
    with pytest.raises(ValueError, match=r"shape \(4,\) at a step, not \(2, 3, Z\)"):
        KeyedNormals(1, [10, 20, 30], range(5, 7), 6)(torch.zeros(4))


def test_numbers_of_resampling_are_of_the_sequence_and_the_step_and_are_no_draws():
    found = keyed_uniforms(1, [10, 20, 30], 6)
    assert found.shape == (6, 3)
    assert torch.equal(found[:4, [2, 0]], keyed_uniforms(1, [30, 10], 4))
    normals = KeyedNormals(1, [10, 20, 30], range(4), 6)
    draws = torch.stack([ndtr(normals(torch.zeros(4, 3, 5, dtype=torch.float64))) for _ in range(6)])
    both = torch.cat([found.flatten(), keyed_uniforms(2, [10], 6).flatten(), draws.flatten()])
    gaps = both.sort().values.diff()
    assert gaps.min() > 1e-12  # no number comes twice, not by the other way from bits to the normal law and back


def test_normal_numbers_are_normal():
    draws = KeyedNormals(0, list(range(50)), range(40), 5)(torch.zeros(40, 50, 10, dtype=torch.float64)).flatten()
    assert draws.mean().abs() < 4 / len(draws) ** 0.5
    distance = (ndtr(draws.sort().values) - (torch.arange(len(draws)) + 0.5) / len(draws)).abs().max()
    assert distance < 1.95 / len(draws) ** 0.5  # Kolmogorov and Smirnov, one in a thousand


def test_a_sequence_is_known_by_its_content():
    words = torch.tensor([4, 5, 6])
    assert sequence_key(words) == sequence_key(words.clone().int())
    assert sequence_key(words) != sequence_key(words[:2])
    numbers = torch.tensor([[0.1, -0.0]], dtype=torch.float64)
    assert sequence_key(numbers) == sequence_key(numbers.float()) == sequence_key(numbers.abs())
    assert sequence_key(numbers) != sequence_key(numbers.T)
    assert sequence_key(words[:1], words) != sequence_key(words)


# Tiles.


@given(st.integers(1, 10**6))
def test_tiles_pad_by_a_fifth_at_most_and_hold_a_bounded_number_of_steps(length):
    steps = padded_length(length)
    assert length <= steps <= max(length * 1.25, length)
    assert padded_length(steps) == steps
    size, (together, count) = tile_size(steps), particle_chunks(11, steps)
    assert 1 <= size <= SEQUENCES
    assert 1 <= together <= PARTICLES
    assert together * count >= 11
    assert together * (count - 1) < 11
    assert size * steps <= MAX_STEPS or size == 1
    assert together * size * steps <= MAX_STEPS or together == 1


def test_every_sequence_is_in_one_tile_as_it_is():
    words = [torch.randint(4, VOCABULARY, (n,)) for n in torch.randint(1, 20, (100,)).tolist()]
    batches = [padded(words[i : i + 7], 25) for i in range(0, 100, 7)]
    places = []
    for tile in tiles(batches):
        assert tile.batch.num_sequences == len(tile.keys) == SEQUENCES
        assert len(tile.places) <= SEQUENCES
        for b, place in enumerate(tile.places):
            length = int(tile.batch.lengths[b])
            assert torch.equal(tile.batch.targets[:length, b], words[place])
            assert not tile.batch.targets[length:, b].any()
            assert tile.batch.num_steps == padded_length(length)
            assert tile.keys[b] == sequence_key(words[place])
        places += tile.places
    assert sorted(places) == list(range(100))


def frames(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 14, (count,), generator=generator).tolist()
    return [torch.randn(n + 1, 3, generator=generator) for n in lengths]


UNITS = {"embedding_size": 8, "hidden_size": 16, "latent_size": 4, "mlp_size": 12}


def real_pair(family="zforcing", dtype=torch.float32, **options):
    """Sizes are multiples of four: see `zf_pyro.tiles` on others."""
    torch.manual_seed(0)
    config = ModelConfig(family=family, **UNITS, **options)
    model, guide = build(config, Observation("gaussian", 3, mean=(0.0,), std=(1.0,)))
    for module in (model, guide):
        for parameter in module.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model.to(dtype), guide.to(dtype)


def weights_of(model, guide, sequences, size, num_particles=3, dtype=torch.float32, **options):
    batches = [
        SequenceBatch.from_sequences(sequences[i : i + size], condition_on_first=True)
        for i in range(0, len(sequences), size)
    ]
    batches = [replace(b, inputs=b.inputs.to(dtype), targets=b.targets.to(dtype)) for b in batches]
    return sequence_weights(model, guide, batches, num_particles, **options)


@pytest.mark.parametrize("form", ["path", "step"])
@pytest.mark.parametrize(
    "options",
    [
        *({"family": family} for family in ("zforcing", "storn", "vrnn", "srnn", "dmm", "rnn")),
        {"guide": "flow"},
        {"guide": "residual", "emission_law": "gaussian-mixture"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_batches_and_their_order_change_no_bit(options, form):
    model, guide = real_pair(**options)
    sequences = frames()
    whole = weights_of(model, guide, sequences, 40, form=form)
    assert torch.equal(whole.lengths, torch.tensor([len(each) - 1 for each in sequences]))
    order = torch.randperm(40).tolist()
    for size in (1, 7) if form == "path" else (7,):
        parts = weights_of(model, guide, [sequences[i] for i in order], size, form=form)
        for name in ("log_weights", "log_ratios", "lengths"):
            assert torch.equal(getattr(parts, name), getattr(whole, name)[..., order]), name


def test_sequences_in_another_process_come_to_the_same():
    code = (
        "import torch; from tests.test_tiles import *; torch.set_num_threads(1); "
        "found = weights_of(*real_pair(), frames()[15:], 9); print(found.log_weights.numpy().tobytes().hex())"
    )
    whole = weights_of(*real_pair(), frames(), 40).log_weights
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    found = np.frombuffer(bytes.fromhex(done.stdout.strip())).reshape(3, -1)
    assert np.allclose(found, whole[:, 15:].numpy(), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_other_tiles_change_the_bounds_by_rounding_alone(dtype, tolerance, monkeypatch):
    pair = real_pair(dtype=dtype)
    whole = weights_of(*pair, frames(), 40, 20, dtype=dtype)
    for sequences, particles in ((5, 3), (1, 20)):
        monkeypatch.setattr("zf_pyro.tiles.SEQUENCES", sequences)
        monkeypatch.setattr("zf_pyro.tiles.PARTICLES", particles)
        parts = weights_of(*pair, frames(), 40, 20, dtype=dtype)
        found, expected = (each.log_weights.logsumexp(0) for each in (parts, whole))
        assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_single_and_double_precision_see_the_same_noise():
    found = [weights_of(*real_pair(dtype=dtype), frames(), 40, dtype=dtype) for dtype in (torch.float32, torch.float64)]
    assert torch.allclose(found[0].log_weights, found[1].log_weights, rtol=1e-4, atol=1e-4)


def test_fewer_particles_are_the_first_of_more():
    pair = real_pair(dtype=torch.float64)
    many, few = (weights_of(*pair, frames(), 40, k, dtype=torch.float64).log_weights for k in (21, 6))
    assert torch.allclose(many[:6], few, rtol=1e-12)


def test_seeds_differ_and_the_random_state_stays():
    pair = real_pair()
    torch.manual_seed(5)
    first = weights_of(*pair, frames(), 40)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))
    assert torch.equal(weights_of(*pair, frames(), 40).log_weights, first.log_weights)
    assert not torch.isclose(weights_of(*pair, frames(), 40, seed=1).log_weights, first.log_weights).any()


def test_the_law_of_the_weights_is_that_of_plain_ones():
    """Means and variances over many particles, within five standard errors."""
    model, guide = tiny_pair()
    batch = tiny_batch()
    ours = sequence_weights(model, guide, [batch], 1000).log_weights
    torch.manual_seed(0)
    theirs = importance_weights(model, guide, batch, 3000).log_weights
    error = (ours.var(0) / len(ours) + theirs.var(0) / len(theirs)).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 5 * error).all()
    assert torch.allclose(ours.std(0), theirs.std(0), rtol=0.15)


def test_a_sequence_without_steps_has_a_likelihood_of_one():
    model, guide = tiny_pair()
    words = [torch.tensor([4, 5]), torch.tensor([], dtype=torch.long)]
    found = sequence_weights(model, guide, [padded(words, 2)], 3)
    assert found.lengths.tolist() == [2, 0]
    assert found.log_weights[:, 1].tolist() == found.log_ratios[:, 1].tolist() == [0.0] * 3
    assert filter_bounds(model, guide, [padded(words, 2)], 3).fivo_bound[1] == 0


def test_the_encoder_runs_once_for_all_particles_of_a_tile():
    model, guide = tiny_pair()
    calls = []
    guide.encoder.register_forward_hook(lambda *_: calls.append(1))
    sequence_weights(model, guide, [tiny_batch((3, 3, 3))], 50)
    assert len(calls) == 1


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 12))
def test_log_likelihood_is_the_bound_of_each_sequence(num_particles):
    model, guide = tiny_pair()
    batch = tiny_batch()
    found = zf_pyro.log_likelihood(model, guide, batch, num_particles, seed=2)
    weights = sequence_weights(model, guide, [batch], num_particles, seed=2).log_weights
    assert found.shape == (3,)
    assert found.dtype == torch.float64
    assert torch.allclose(found, weights.exp().mean(0).log(), rtol=1e-9)
