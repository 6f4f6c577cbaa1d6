"""Random numbers of a sequence's own."""

from operator import itemgetter

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from scipy import stats

from tests.tiny import tiny_batch, tiny_pair
from zf_pyro.scopes import local_parameters
from zf_pyro.streams import Streams, dropout_factors, path_normals, resampling_uniforms, stream_seed

CPU = torch.device("cpu")
SEED = itemgetter(0)


def streams(lengths, steps=None, seeds=None):
    return Streams(seeds or range(len(lengths)), lengths, steps or max(lengths), CPU)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(1, 6)), min_size=2, unique_by=SEED, max_size=6), st.data())
def test_a_sequence_draws_the_same_whatever_stands_beside_it(sequences, data):
    chosen = data.draw(st.lists(st.sampled_from(range(len(sequences))), min_size=1, unique=True))

    def drawn(sequences):
        seeds, lengths = zip(*sequences, strict=True)
        with streams(lengths, seeds=seeds) as own:
            like = torch.empty(len(seeds), max(lengths), 3)
            factors = dropout_factors(like, 0.4)
            path = [own.next_normals(torch.empty(2, len(seeds), 5)) for _ in range(max(lengths))]
            uniforms = resampling_uniforms(torch.ones(max(lengths), len(seeds), dtype=torch.bool))
        path = torch.stack(path, -2).movedim(1, 0)
        return [[factors[b, :n], path[b][:, :n], uniforms[:n, b]] for b, n in enumerate(lengths)]

    whole = drawn(sequences)
    for b, found in zip(chosen, drawn([sequences[b] for b in chosen]), strict=True):
        assert all(torch.equal(ours, other) for ours, other in zip(whole[b], found, strict=True))


def test_the_numbers_have_their_laws():
    """By Kolmogorov and Smirnov, at 1 in 10,000; the seeds are fixed."""
    seeds = [stream_seed(0, step, place) for step in range(50) for place in range(4)]
    with streams([20] * 200, seeds=seeds) as own:
        normals = own.normals(torch.empty(200, 10))
        uniforms = resampling_uniforms(torch.ones(20, 200, dtype=torch.bool))
        factors = dropout_factors(torch.empty(200, 20, 10), 0.3)
    assert stats.kstest(normals.flatten().numpy(), "norm").pvalue > 1e-4
    assert stats.kstest(uniforms.flatten().numpy(), "uniform").pvalue > 1e-4
    dropped = (factors == 0).sum().item()
    assert stats.binomtest(dropped, factors.numel(), 0.3).pvalue > 1e-4
    assert torch.equal(factors.unique(), torch.tensor([0, 1 / 0.7]))
    firsts = normals[:, :, 0].T.numpy()
    assert abs(np.corrcoef(firsts)[np.triu_indices(200, 1)]).max() < 0.95  # no two streams are one


def test_padding_draws_nothing():
    with streams([2, 4]) as own:
        assert not own.normals(torch.empty(3, 2, 5))[2:, :, 0].any()
        assert not resampling_uniforms(torch.ones(4, 2, dtype=torch.bool))[2:, 0].any()


def test_paths_follow_each_other():
    with streams([3, 2]) as own:
        like = torch.empty(2, 4)
        first, second = (torch.stack([own.next_normals(like) for _ in range(3)]) for _ in range(2))
    assert not torch.equal(first, second)


def test_what_is_not_of_the_sequences_steps_is_drawn_as_ever():
    """A site beside the path, rows that are not the sequences; the path is as it is without them."""
    normal = dist.Normal(torch.zeros(2, 4), torch.ones(2, 4)).to_event(1)

    def program(*others):
        with streams([3, 2]), pyro.plate("sequences", 2, dim=-1):
            for name in others:
                pyro.sample(name, normal)
            return torch.stack([pyro.sample(f"z_{t}", normal) for t in range(1, 4)])

    assert torch.equal(program("w", "v"), program())
    torch.manual_seed(3)
    expected = torch.randn(5, 4), torch.nn.functional.dropout(torch.ones(5, 3, 4), 0.5)
    torch.manual_seed(3)
    with streams([3, 2]) as own:
        assert torch.equal(own.next_normals(torch.empty(5, 4)), expected[0])
        assert torch.equal(dropout_factors(torch.empty(5, 3, 4), 0.5), expected[1])
        assert own.next_normals(torch.empty(4)).shape == (4,)
        assert resampling_uniforms(torch.ones(3, 5, dtype=torch.bool)) is None


def test_outside_everything_is_drawn_as_ever():
    torch.manual_seed(3)
    expected = torch.nn.functional.dropout(torch.ones(2, 3, 4), 0.5), torch.randn(3, 2, 4)
    torch.manual_seed(3)
    with streams([1]):
        pass
    found = dropout_factors(torch.empty(2, 3, 4), 0.5), path_normals(3)(torch.empty(2, 4))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1][0])
    assert resampling_uniforms(torch.ones(3, 2, dtype=torch.bool)) is None


def test_both_forms_draw_the_same_path_and_dropout():
    _model, guide = tiny_pair(input_dropout=0.5)
    batch = tiny_batch()
    found = []
    for form in ("step", "path"):
        with local_parameters(), streams(batch.lengths.tolist()):
            trace = poutine.trace(guide).get_trace(batch, form=form)
        sites = [trace.nodes[f"z_{t}"]["value"] for t in range(1, 6)] if form == "step" else None
        path = torch.stack(sites) if sites else trace.nodes["z"]["value"].transpose(0, 1)
        found.append((path[batch.mask], trace.nodes["input_dropout"]["value"]))
    (steps, factors), (path, others) = found
    assert torch.allclose(steps, path, rtol=1e-12)
    assert torch.equal(factors, others)


def test_a_stream_is_of_all_its_parts():
    seeds = {stream_seed(*parts) for parts in [(0, 1, 2), (0, 12), (1, 0, 2), (0, 1, "2"), (0, 1)]}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
