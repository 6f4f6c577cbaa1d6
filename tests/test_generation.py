"""Decoding against the step form, brute force and enumerated laws; paths between paths; continuations by Kalman."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyro import poutine
from torch import Tensor

from tests.kalman import generate
from tests.linear_gaussian import exact_guide, exact_likelihoods, linear_model
from tests.tiny import SIZES
from zf_pyro import Decoder, Guide, InputError, PriorPosterior, SequenceBatch, continue_prefix, decode, interpolate
from zf_pyro import reconstruct as rebuilt
from zf_pyro.build import build
from zf_pyro.config import ModelConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.data.text import END, PAD, START, UNKNOWN, Vocabulary, collate
from zf_pyro.generation.decoding import first_inputs, unpacked
from zf_pyro.generation.interpolation import LEAST_LENGTH, mixed, shares_of, slerp
from zf_pyro.generation.posterior import drawn_paths, latent_paths
from zf_pyro.generation.reconstruction import from_path
from zf_pyro.generation.rollout import Followed, Rollout
from zf_pyro.generation.traverse import traverse
from zf_pyro.inspection.encode import encode
from zf_pyro.logistics import DiscretisedLogistics
from zf_pyro.presets import preset
from zf_pyro.runs import LoadedRun
from zf_pyro.scopes import evaluating, local_parameters, seeded

WORDS = Observation("categorical", 7)
BITS = Observation("bernoulli", 3)
REALS = Observation("gaussian", 2, mean=(0.5,), std=(2.0,))
WHOLE = replace(REALS, limits=(-20, 20))
STACKED = {"num_layers": 2}
MODELS = [
    {"family": "zforcing"},
    {"family": "zforcing", **STACKED},
    {"family": "zforcing", "transition": "cond-ln", "emission_skip": True, "prior": "learned-input"},
    {"family": "zforcing", "learn_initial_state": True, "transition": "gru"},
    {"family": "storn"},
    {"family": "vrnn"},
    {"family": "vrnn", **STACKED},
    {"family": "srnn", "learn_initial_state": True},
    {"family": "srnn", **STACKED},
    {"family": "dmm", "learn_initial_state": True},
    {"family": "rnn"},
]


def named(options):
    return "-".join(map(str, options.values()))


def config_of(**options):
    whole = preset("imdb", "quick")
    objective = replace(whole.objective, alpha="0", beta="0")
    return replace(whole, model=ModelConfig(**{**SIZES, **options}), objective=objective)


def run_of(observation, seed=0, **options):
    """A run that was not trained, in double precision, its weights larger than at initialisation."""
    torch.manual_seed(seed)
    config = config_of(**{"mixture_components": 3, **options})
    model, guide = (each.double().eval() for each in build(config.model, observation))
    for parameter in (*model.parameters(), *guide.parameters()):
        parameter.data += 0.4 * torch.randn_like(parameter)
    vocabulary = Vocabulary("abc"[: observation.size - 4]) if observation.law == "categorical" else None
    return LoadedRun(model, guide, config, observation, vocabulary)


def paths_of(run, number, steps, seed=5):
    size = 0 if run.config.model.family == "rnn" else SIZES["latent_size"]
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(number, steps, size, generator=generator, dtype=torch.float64))


def step_laws(run, paths, x, inputs=None):
    """The laws of x_1 .. x_T in the step form, z and x being given, (T, B, ...)."""
    first = first_inputs(run.observation, len(paths), next(run.model.parameters()))
    before = torch.cat([first.unsqueeze(0), x[:-1]]) if inputs is None else inputs
    batch = SequenceBatch(before, before, torch.ones(x.shape[:2], dtype=torch.bool))
    data = {f"z_{t}": z for t, z in enumerate(torch.stack(paths, 1).unbind(), 1)}
    with evaluating(run.model):  # the targets of step t - 1 are the u_t of the step form
        shifted = replace(batch, targets=torch.cat([before[1:], x[-1:]]))
        trace = poutine.trace(poutine.condition(run.model, data=data)).get_trace(shifted)
    return [trace.nodes[f"x_{t}"]["fn"] for t in range(1, len(x) + 1)]


def log_probs(run, paths, x):
    """Log p(x_1 .. x_T | z), (B,)."""
    return sum(law.log_prob(value) for law, value in zip(step_laws(run, paths, x), x, strict=True))


def whole(found, steps):
    """A decoded sentence with its </s>, and how many of its steps count."""
    words = [*found.sequence.tolist(), *([END] if found.ended else [])]
    return torch.tensor(words + [PAD] * (steps - len(words))), len(words)


def normalised(found, observation):
    values = torch.from_numpy(np.asarray(found.sequence)).double()
    return values if observation.law == "bernoulli" else (values - observation.mean[0]) / observation.std[0]


@pytest.fixture(autouse=True)
def _local():
    with local_parameters(), torch.no_grad():
        yield


# Agreement with the step form.


@pytest.mark.parametrize("observation", [WORDS, BITS, REALS], ids=["words", "bits", "reals"])
@pytest.mark.parametrize("options", MODELS, ids=named)
def test_a_score_is_what_the_step_form_gives(options, observation):
    run = run_of(observation, **options)
    paths = paths_of(run, 3, 6)
    kinds = ["sample", "greedy", "best", *(["beam"] if observation is WORDS else [])]
    for kind in kinds:
        decoder = Decoder(
            kind, **({"width": 3} if kind in ("best", "beam") else {}), min_steps=2 * (observation is WORDS)
        )
        found = decode(run, 6, decoder, latents=paths)
        if observation is WORDS:
            pairs = [whole(each, 6) for each in found]
            x = torch.stack([words for words, _ in pairs], 1)
            laws = step_laws(run, paths, x)
            for b, (_, length) in enumerate(pairs):
                score = sum(float(law.log_prob(value)[b]) for law, value in zip(laws[:length], x, strict=False))
                assert found[b].score == pytest.approx(score, abs=1e-10)
        else:
            x = torch.stack([normalised(each, observation) for each in found], 1)
            assert torch.allclose(
                log_probs(run, paths, x), torch.tensor([each.score for each in found]).double(), atol=1e-9
            )


@pytest.mark.parametrize("observation", [WORDS, BITS, REALS, WHOLE], ids=["words", "bits", "reals", "whole"])
@pytest.mark.parametrize("options", [*MODELS, {"family": "zforcing", "prior": "mixture"}], ids=named)
def test_plain_samples_are_the_draws_of_the_step_form(options, observation):
    law = {"emission_law": "logistic-mixture"} if observation is WHOLE else {}
    run = run_of(observation, **options, **law)
    first = first_inputs(observation, 4, next(run.model.parameters()))
    with seeded(torch.device("cpu"), 3), evaluating(run.model):
        wanted = unpacked(run.model(SequenceBatch.start(first, 5)), torch.zeros(4), observation)
    for ours, theirs in zip(decode(run, 5, count=4, seed=3), wanted, strict=True):
        assert np.array_equal(ours.sequence, theirs.sequence)
        assert ours.ended == theirs.ended


@pytest.mark.parametrize("options", MODELS, ids=named)
def test_greedy_takes_the_most_probable_word_of_every_step(options):
    run = run_of(WORDS, **options)
    paths = paths_of(run, 4, 7)
    found = decode(run, 7, Decoder("greedy", min_steps=3, forbid_unknown=True), latents=paths)
    pairs = [whole(each, 7) for each in found]
    x = torch.stack([words for words, _ in pairs], 1)
    for t, law in enumerate(step_laws(run, paths, x)):
        scores = law.logits.clone()
        scores[:, [PAD, START, UNKNOWN, *([END] if t < 3 else [])]] = -torch.inf
        for b, (_, length) in enumerate(pairs):
            assert t >= length or int(scores[b].argmax()) == int(x[t, b])


def test_greedy_bits_are_the_modes_and_real_numbers_the_means():
    for observation in (BITS, REALS):
        run = run_of(observation, family="srnn")
        paths = paths_of(run, 2, 4)
        x = torch.stack([normalised(each, observation) for each in decode(run, 4, Decoder("greedy"), latents=paths)], 1)
        for law, value in zip(step_laws(run, paths, x), x, strict=True):
            assert torch.allclose(value, (law.mean > 0.5).double() if observation is BITS else law.mean)


def test_greedy_whole_numbers_are_points_of_the_lattice():
    run = run_of(WHOLE, emission_law="logistic-mixture")
    for decoder in (Decoder("greedy"), Decoder(temperature=0.3)):
        values = np.stack([each.sequence for each in decode(run, 4, decoder, count=3)])
        assert np.allclose(values, values.round(), atol=1e-6)
        assert np.abs(values).max() <= 20


def test_the_mean_of_logistics_is_that_of_their_draws():
    torch.manual_seed(0)
    scores, means = torch.randn(2, 3, dtype=torch.float64), 3 * torch.randn(2, 3, dtype=torch.float64)
    lowest, width = torch.tensor([-50.0]), torch.tensor([0.1])
    law = DiscretisedLogistics(scores, means, torch.zeros(2, 3, dtype=torch.float64), lowest, width, 1001)
    draws = law.sample((20_000,))
    assert ((draws.mean(0) - law.mean).abs() < 5 * draws.std(0) / math.sqrt(20_000)).all()


# What is given is followed.


@pytest.mark.parametrize("kind", ["greedy", "sample", "best", "beam"])
def test_a_prefix_comes_first_and_is_not_scored(kind):
    run = run_of(WORDS, family="vrnn")
    paths, prefixes = paths_of(run, 2, 6), [torch.tensor([4, 5, 6]), torch.tensor([6])]
    found = decode(run, 6, Decoder(kind, min_steps=5), latents=paths, prefix=prefixes)
    pairs = [whole(each, 6) for each in found]
    x = torch.stack([words for words, _ in pairs], 1)
    laws = step_laws(run, paths, x)
    for b, prefix in enumerate(prefixes):
        m, length = len(prefix), pairs[b][1]
        assert x[:m, b].tolist() == prefix.tolist()
        score = sum(float(law.log_prob(value)[b]) for law, value in zip(laws[m:length], x[m:], strict=False))
        assert found[b].score == pytest.approx(score, abs=1e-10)


def test_teacher_forcing_reads_the_real_inputs():
    run = run_of(BITS, family="vrnn")
    x = torch.randint(0, 2, (5, 1, 3), generator=torch.Generator().manual_seed(0)).double()
    inputs = torch.cat([torch.ones_like(x[:1]), x[:-1]])
    batch = SequenceBatch(inputs, x, torch.ones(5, 1, dtype=torch.bool))
    (path,) = latent_paths(run, batch)
    (forced,) = rebuilt(run, batch, teacher_forced=True)
    laws = step_laws(run, [path], x, inputs)
    assert np.array_equal(forced.sequence, torch.cat([law.mean > 0.5 for law in laws]).numpy())
    (free,) = rebuilt(run, batch)
    own = torch.from_numpy(free.sequence).double().unsqueeze(1)
    laws = step_laws(run, [path], own, torch.cat([inputs[:1], own[:-1]]))  # u_1 is the sequence's own
    assert np.array_equal(free.sequence, torch.cat([law.mean > 0.5 for law in laws]).numpy())


def test_beyond_the_given_path_comes_the_prior():
    run = run_of(WORDS, family="zforcing")
    paths = paths_of(run, 2, 2)
    (short, _), (long, _) = (
        decode(run, 9, Decoder("greedy"), latents=p, seed=1) for p in (paths, [paths[0][:1], paths[1]])
    )
    others = {tuple(decode(run, 9, latents=paths, seed=seed)[0].sequence) for seed in range(5)}
    assert len(others) > 1
    means = [decode(run, 9, Decoder("greedy", min_steps=8), latents=paths, latent="mean", seed=s)[0] for s in (0, 1)]
    assert means[0].score == means[1].score
    assert short.score != long.score


# Beams.


def sentences_of(steps, words):
    """Every sentence of at most so many words, </s> included, as (T, N), and their lengths."""
    found = []
    for length in range(1, steps + 1):
        for body in product([w for w in words if w != END], repeat=length - 1):
            found.append([*body, END])
    found += [list(body) for body in product([w for w in words if w != END], repeat=steps)]
    padded = torch.tensor([each + [PAD] * (steps - len(each)) for each in found]).T
    return padded, [len(each) for each in found]


def all_scores(run, path, words, steps=3):
    x, lengths = sentences_of(steps, words)
    laws = step_laws(run, [path[:steps]] * x.shape[1], x)
    steps_scores = torch.stack([law.log_prob(value) for law, value in zip(laws, x, strict=True)])
    real = torch.arange(steps).unsqueeze(1) < torch.tensor(lengths)
    return x, lengths, (steps_scores * real).sum(0)


@pytest.mark.parametrize("options", MODELS, ids=named)
def test_a_beam_of_all_hypotheses_finds_the_best_sentence(options):
    run = run_of(WORDS, **options)
    paths = paths_of(run, 3, 3)
    found = decode(run, 3, Decoder("beam", width=WORDS.size**3), latents=paths)
    for path, each in zip(paths, found, strict=True):
        x, lengths, scores = all_scores(run, path, range(2, WORDS.size))
        best = int(scores.argmax())
        assert each.score == pytest.approx(float(scores[best]), abs=1e-10)
        assert whole(each, 3)[0].tolist() == x[:, best].tolist()
        assert lengths[best] == whole(each, 3)[1]


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy_and_no_beam_finds_more_than_all(seed):
    run = run_of(WORDS, seed=seed, family="storn")
    paths = paths_of(run, 4, 6)
    greedy, one = (decode(run, 6, each, latents=paths) for each in (Decoder("greedy"), Decoder("beam", width=1)))
    assert [each.sequence.tolist() for each in greedy] == [each.sequence.tolist() for each in one]
    everything = decode(run, 3, Decoder("beam", width=343), latents=paths)
    for width in (2, 5):
        some = decode(run, 3, Decoder("beam", width=width), latents=paths)
        assert all(a.score <= b.score + 1e-12 for a, b in zip(some, everything, strict=True))


def test_hypotheses_of_a_sequence_share_the_noise_of_z():
    run = run_of(WORDS, family="zforcing")
    rollout = Rollout(run.model, torch.Size((4, 2)), Followed([torch.zeros(0)] * 2, next(run.model.parameters())))
    for _ in range(2):
        rollout.step(torch.full((4, 2), START))
    first, *others = rollout.state.latent
    assert all(torch.allclose(first, other) for other in others)
    assert (first[0] - first[1]).abs().max() > 0.01


# Draws.


def frequencies_agree(counts, probabilities, number):
    """Whether all counts are within five standard deviations of what they should be, and the impossible never came."""
    deviation = np.sqrt(number * probabilities * (1 - probabilities))
    return bool((np.abs(counts - number * probabilities) <= 5 * deviation + 1e-9).all())


def test_samples_come_as_often_as_they_are_probable():
    run = run_of(WORDS, family="vrnn")
    (path,) = paths_of(run, 1, 2)
    number = 20_000
    found = decode(run, 2, latents=[path] * number, prefix=None, seed=4)
    x, lengths, scores = all_scores(run, path, range(WORDS.size), steps=2)
    kept = {}
    for words, length, score in zip(x.T.tolist(), lengths, scores.exp().tolist(), strict=True):
        key = tuple(w for w in words[:length] if w not in (PAD, START, END)), END in words[:length]
        kept[key] = kept.get(key, 0.0) + score
    assert sum(kept.values()) == pytest.approx(1)
    counts = dict.fromkeys(kept, 0)
    for each in found:
        counts[tuple(each.sequence.tolist()), each.ended] += 1
    assert frequencies_agree(np.array(list(counts.values())), np.array(list(kept.values())), number)


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.5}, {"top_k": 2}, {"top_k": 3, "temperature": 2.0, "forbid_unknown": True}, {"min_steps": 1}],
    ids=str,
)
def test_tempered_and_truncated_samples_come_as_often_as_they_are_probable(options):
    run = run_of(WORDS, family="srnn")
    (path,) = paths_of(run, 1, 1)
    number = 20_000
    found = decode(run, 1, Decoder(**options), latents=[path] * number)
    (law,) = step_laws(run, [path], torch.zeros(1, 1, dtype=torch.long))
    logits = law.logits[0].detach().numpy() / options.get("temperature", 1.0)
    barred = [
        PAD,
        START,
        *([UNKNOWN] if "forbid_unknown" in options else []),
        *([END] if "min_steps" in options else []),
    ]
    logits[barred] = -np.inf
    if k := options.get("top_k"):
        logits[np.argsort(logits)[:-k]] = -np.inf
    probabilities = np.exp(logits - logits.max())
    words = [END if each.ended else int(each.sequence[0]) for each in found]
    counts = np.bincount(words, minlength=WORDS.size)
    assert frequencies_agree(counts, probabilities / probabilities.sum(), number)


@pytest.mark.parametrize("observation", [WORDS, BITS, REALS], ids=["words", "bits", "reals"])
def test_a_cold_draw_is_greedy(observation):
    run = run_of(observation, family="dmm")
    paths = paths_of(run, 5, 6)
    greedy = decode(run, 6, Decoder("greedy"), latents=paths)
    for options in ({"temperature": 1e-9}, *([{"top_k": 1}] if observation is WORDS else [])):
        for kind in ("sample", "best"):
            cold = decode(run, 6, Decoder(kind, **options), latents=paths, seed=7)
            assert all(np.allclose(a.sequence, b.sequence, atol=1e-6) for a, b in zip(cold, greedy, strict=True))


def test_a_temperature_below_single_precision_is_greedy_too():
    for observation in (WORDS, BITS):
        run = run_of(observation, family="dmm")
        single = run._replace(model=run.model.float())
        paths = paths_of(run, 4, 6)
        found = [
            decode(single, 6, decoder, latents=paths) for decoder in (Decoder("greedy"), Decoder(temperature=1e-50))
        ]
        for greedy, cold in zip(*found, strict=True):
            assert np.array_equal(greedy.sequence, cold.sequence)


def test_draws_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="a lower one"):
        decode(run_of(REALS), 4, Decoder(temperature=1e308), count=50)


def test_temperature_scales_the_deviation_of_real_numbers():
    run = run_of(REALS, family="storn")
    (path,) = paths_of(run, 1, 1)
    (law,) = step_laws(run, [path], torch.zeros(1, 1, 2, dtype=torch.float64))
    drawn = np.stack([each.sequence[0] for each in decode(run, 1, Decoder(temperature=0.5), latents=[path] * 4000)])
    values = (drawn - 0.5) / 2.0
    scale = law.stddev[0].numpy()
    assert np.allclose(values.std(0), 0.5 * scale, rtol=0.06)
    assert (np.abs(values.mean(0) - law.mean[0].numpy()) < 5 * 0.5 * scale / math.sqrt(4000)).all()


@pytest.mark.parametrize("observation", [WORDS, BITS, REALS], ids=["words", "bits", "reals"])
def test_the_best_of_n_is_the_greatest_of_n_draws(observation):
    run = run_of(observation, family="vrnn")
    paths = paths_of(run, 3, 4)
    one, few, many = (
        [each.score for each in decode(run, 4, Decoder("best", width=n), latents=paths, seed=2)] for n in (1, 8, 200)
    )
    assert np.mean(one) < np.mean(few) <= np.mean(many)
    if observation is WORDS:
        limit = [each.score for each in decode(run, 4, Decoder("beam", width=7**4), latents=paths)]
        assert all(best <= greatest + 1e-10 for best, greatest in zip(many, limit, strict=True))


DECODERS = st.one_of(
    st.builds(Decoder, st.sampled_from(["greedy", "beam"]), width=st.integers(1, 4), forbid_unknown=st.booleans()),
    st.builds(
        Decoder,
        st.sampled_from(["sample", "best"]),
        temperature=st.floats(0.1, 20),
        top_k=st.integers(1, 9),
        width=st.integers(1, 4),
        min_steps=st.integers(0, 5),
        forbid_unknown=st.booleans(),
    ),
)


@settings(max_examples=60, deadline=None)
@given(DECODERS, st.integers(0, 100))
def test_what_is_forbidden_never_comes(decoder, seed):
    run = run_of(WORDS, seed=seed % 5, family="zforcing")
    for each in decode(run, 5, decoder, count=6, seed=seed):
        assert not decoder.forbid_unknown or UNKNOWN not in each.sequence
        assert len(each.sequence) == 5 - (each.ended and 5 - len(each.sequence))  # no <pad>, no <s> was left out
        assert len(each.sequence) >= min(decoder.min_steps, 5)


def test_a_decoding_comes_from_its_seed_and_leaves_the_random_state():
    run = run_of(WORDS, family="zforcing")
    torch.manual_seed(11)
    wanted = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = (decode(run, 8, count=6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), wanted)
    assert [each.score for each in first] == [each.score for each in again]
    assert [each.score for each in first] != [each.score for each in other]


# What is refused.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "sampling"}, "no decoder"),
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": math.nan}, "above 0"),
        ({"kind": "greedy", "temperature": 0.5}, "draws nothing"),
        ({"kind": "beam", "top_k": 3}, "draws nothing"),
        ({"top_k": -1}, "top_k"),
        ({"width": 0}, "width"),
        ({"min_steps": -1}, "min_steps"),
    ],
    ids=str,
)
def test_a_decoder_that_makes_no_sense_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        Decoder(**options)


@pytest.mark.parametrize(
    "options", [{"kind": "beam"}, {"top_k": 2}, {"min_steps": 1}, {"forbid_unknown": True}], ids=str
)
def test_what_is_of_words_is_refused_for_other_data(options):
    with pytest.raises(InputError, match="of text"):
        decode(run_of(BITS), 3, Decoder(**options), count=1)


@pytest.mark.parametrize(
    ("steps", "decoder", "count"),
    [
        (3, Decoder("beam", width=10**9), 1),
        (3, Decoder("best", width=10**30), 1),
        (10**6, Decoder("greedy"), 10_000),
    ],
    ids=["beam", "best", "steps"],
)
def test_what_memory_cannot_hold_is_refused(steps, decoder, count):
    run = run_of(WORDS)
    with pytest.raises(InputError, match="a smaller width"):
        decode(run, steps, decoder, count=count)
    with pytest.raises(InputError, match="fewer"):
        latent_paths(run, collate([np.array([4, 5])]), "best", draws=10**10)


def test_an_image_has_so_many_pixels():
    run = run_of(replace(BITS, size=1, sequence="image", step="pixel", rows=2, sample_steps=6))
    assert len(decode(run, 6, count=1)[0].sequence) == 6
    with pytest.raises(InputError, match="7 pixels, and the image has 6"):
        decode(run, 7, count=1)


def test_a_law_without_a_mean_is_drawn_from():
    run = run_of(WORDS, prior="flow", flow_layers=2)
    with pytest.raises(InputError, match="the prior, Flow"):
        decode(run, 3, count=2, latent="mean")
    assert len(decode(run, 3, Decoder("beam"), count=2)) == 2


def test_sequences_of_different_numbers_are_refused():
    run = run_of(WORDS)
    for options in ({}, {"count": 0}, {"count": 3, "latents": paths_of(run, 2, 2)}):
        with pytest.raises(ValueError, match="sequences"):
            decode(run, 3, **options)


def test_a_model_without_latent_variable_has_none_to_infer():
    run = run_of(WORDS, family="rnn")
    batch = collate([np.array([4, 5])])
    for make in (rebuilt, lambda run, batch: interpolate(run, batch, batch)):
        with pytest.raises(InputError, match="no latent variable"):
            make(run, batch)
    found = continue_prefix(run, batch, 6, count=3).sequences
    assert [each.sequence[:2].tolist() for each in found] == [[4, 5]] * 3


# Latent paths.


def reals_run(model, guide):
    """A linear-Gaussian model as a run."""
    return LoadedRun(model, guide, config_of(), Observation("gaussian", 2, mean=(0.0,), std=(1.0,)), None)


def test_the_best_path_has_the_greatest_weight_and_is_of_its_sequence_alone():
    run = run_of(WORDS, family="zforcing")
    sentences = [np.array([4, 5, 6, 4]), np.array([5, 5])]
    both = drawn_paths(run, collate(sentences), 30, seed=3)
    for sentence, drawn in zip(sentences, both, strict=True):
        (single,) = drawn_paths(run, collate([sentence]), 30, seed=3)
        assert torch.allclose(single.paths, drawn.paths, atol=1e-12)
        assert torch.allclose(single.log_weights, drawn.log_weights, atol=1e-10)
        assert drawn.paths.shape == (30, len(sentence) + 1, SIZES["latent_size"])
        (best,) = latent_paths(run, collate([sentence]), "best", draws=30, seed=3)
        assert torch.allclose(best, drawn.paths[drawn.log_weights.argmax()], atol=1e-12)
        (mean,) = latent_paths(run, collate([sentence]))
        assert torch.equal(mean, encode(run.guide, [collate([sentence])])[0][0].mean)
    weights = both[0].log_weights.softmax(0)
    assert both[0].effective == pytest.approx(float(1 / weights.square().sum()))


def test_every_weight_is_the_likelihood_under_the_exact_posterior():
    model = linear_model("zforcing")
    torch.manual_seed(1)
    batch = generate(model, 3, 4)
    drawn = drawn_paths(reals_run(model, exact_guide(model, "zforcing")), batch, 20)
    for each, exact in zip(drawn, exact_likelihoods(model, "zforcing", batch), strict=True):
        assert torch.allclose(each.log_weights, exact.detach().expand(20), atol=1e-9)
        assert each.effective == pytest.approx(20)


def predicted(model, family, batch):
    """E[x_{m+1} | x_1 .. x_m], (2,), by the Kalman filter: where the quadratic log p(x_1 .. x_{m+1}) is greatest."""

    def score(last: Tensor) -> Tensor:
        targets = torch.cat([batch.targets, last.reshape(1, 1, 2)])
        inputs = torch.cat([batch.inputs[:1], targets[:-1]])
        longer = SequenceBatch(inputs, targets, torch.ones(len(targets), 1, dtype=torch.bool))
        return exact_likelihoods(model, family, longer).sum()

    zero = torch.zeros(2, dtype=torch.float64)
    gradient, hessian = (
        f(score, zero) for f in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian)
    )
    return -torch.linalg.solve(hessian, gradient)


@pytest.mark.parametrize(
    ("family", "exact", "draws"), [("zforcing", True, 200), ("dmm", True, 200), ("zforcing", False, 1000)]
)
def test_continuations_agree_with_the_exact_prediction(family, exact, draws):
    model = linear_model(family)
    torch.manual_seed(1)
    batch = generate(model, 1, 3)
    batch = replace(batch, targets=batch.targets + torch.tensor([2.0, 0.0]))  # unlikely under the prior
    batch = replace(batch, inputs=torch.cat([batch.inputs[:1], batch.targets[:-1]]))
    guide = exact_guide(model, family) if exact else Guide(model, None, PriorPosterior())
    run, count = reals_run(model, guide), 2000
    found = continue_prefix(run, batch, 4, count=count, draws=draws, seed=0)
    next_steps = torch.tensor(np.stack([each.sequence[3] for each in found.sequences]))
    assert all(np.allclose(each.sequence[:3], batch.targets[:, 0]) for each in found.sequences)
    error = next_steps.std(0) * math.sqrt(1 / count + 1 / found.effective)
    wanted = predicted(model, family, batch)
    assert ((next_steps.mean(0) - wanted).abs() < 5 * error).all()
    assert (error < 0.2).all()
    if not exact:  # without the weights it would be the prior's prediction, which is another
        unweighted = decode(run, 4, count=count, prefix=[batch.targets[:, 0]] * count)
        away = torch.tensor(np.stack([each.sequence[3] for each in unweighted])).mean(0) - wanted
        assert (away.abs() / error).max() > 8


def test_a_prefix_of_no_steps_is_a_sample():
    run = run_of(WORDS)
    found = continue_prefix(run, collate([np.array([4, 5])]), 6, prefix_steps=0, count=4, seed=2).sequences
    assert [each.score for each in found] == [each.score for each in decode(run, 6, count=4, seed=2)]


def test_a_prefix_is_to_be_shorter_than_the_whole():
    run, batch = run_of(WORDS), collate([np.array([4, 5])])
    with pytest.raises(InputError, match="leave nothing to decode"):
        continue_prefix(run, batch, 2)
    with pytest.raises(InputError, match="a prefix of 9"):
        continue_prefix(run, batch, 20, prefix_steps=9)
    with pytest.raises(InputError, match="a prefix of 3"):  # of which </s> is the last
        continue_prefix(run, batch, 20, prefix_steps=3)
    found = [continue_prefix(run, batch, 8, prefix_steps=steps, seed=1).sequences[0] for steps in (None, 2)]
    assert found[0].score == found[1].score != 0


# Between paths.

NUMBERS = st.floats(-5, 5, width=32, allow_subnormal=False)  # which the commands flush to zero, process-wide
VECTORS = st.lists(NUMBERS, min_size=3, max_size=3).map(lambda numbers: torch.tensor(numbers, dtype=torch.float64))


@settings(max_examples=300, deadline=None)
@given(VECTORS, VECTORS, st.floats(0, 1, allow_subnormal=False))
@example(torch.tensor([0.0, 0.0, 2.0**-149], dtype=torch.float64), torch.eye(3, dtype=torch.float64)[1], 0.5)
def test_a_spherical_mix_keeps_between_the_two(first, second, share):
    found = slerp(first, second, share)
    assert found.isfinite().all()
    for end, s in ((first, 0.0), (second, 1.0)):
        assert torch.allclose(slerp(first, second, s), end, atol=1e-9)
    low, high = sorted([float(first.norm()), float(second.norm())])
    assert float(found.norm()) <= high + 1e-9
    if low < LEAST_LENGTH:
        return
    angle = torch.arccos((first @ second / (first.norm() * second.norm())).clamp(-1, 1))
    if 0.01 < float(angle) < math.pi - 0.01:
        length = (1 - share) * first.norm() + share * second.norm()
        assert float(found.norm()) == pytest.approx(float(length), abs=1e-7)
        if length > 1e-3:
            part = torch.arccos((first @ found / (first.norm() * found.norm())).clamp(-1, 1))
            assert float(part) == pytest.approx(share * float(angle), abs=1e-4)


def test_where_there_is_no_arc_the_mix_is_linear():
    a = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    for b in (2.5 * a, -a, torch.zeros_like(a), a):
        assert torch.allclose(slerp(a, b, 0.3), torch.lerp(a, b, 0.3), atol=1e-9)


@pytest.mark.parametrize("kind", ["linear", "spherical"])
@pytest.mark.parametrize("sizes", [(4, 4), (2, 5), (6, 3)])
def test_paths_between_paths(kind, sizes):
    torch.manual_seed(0)
    first, second = (torch.randn(n, 3) for n in sizes)
    shares = shares_of(5)
    assert shares == [0, 0.25, 0.5, 0.75, 1]
    found = mixed(first, second, shares, kind)
    assert torch.equal(found[0], first)
    assert torch.equal(found[-1], second)
    both, longer = min(sizes), max(first, second, key=len)
    for share, path in list(zip(shares, found, strict=True))[1:-1]:
        assert path.shape == (max(sizes), 3)
        assert torch.equal(path[both:], longer[both:])
        if kind == "linear":
            assert torch.allclose(path[:both], (1 - share) * first[:both] + share * second[:both])
        else:
            assert torch.allclose(path[0], slerp(first[0], second[0], share))


@pytest.mark.parametrize("decoder", [Decoder("greedy"), Decoder("beam", width=3), Decoder("best", top_k=3)], ids=str)
@pytest.mark.parametrize("how", ["mean", "draw", "best"])
def test_an_interpolation_ends_in_the_reconstructions(decoder, how):
    run = run_of(WORDS, family="vrnn")
    first, second = (collate([np.array(words)]) for words in ([4, 5, 6], [6, 6, 5, 4, 4]))
    for kind in ("linear", "spherical"):
        found = interpolate(run, first, second, 4, decoder, kind=kind, how=how, draws=5, seed=3)
        ends = [rebuilt(run, each, decoder, how=how, draws=5, seed=3)[0] for each in (first, second)]
        assert len(found) == 4
        for ours, theirs in zip((found[0], found[-1]), ends, strict=True):
            assert ours.score == theirs.score
            assert ours.sequence.tolist() == theirs.sequence.tolist()


def test_the_first_input_of_an_interpolation_is_that_of_the_nearer_sequence():
    run = run_of(BITS, family="vrnn")
    mask = torch.ones(3, 1, dtype=torch.bool)
    zeros = torch.zeros(3, 1, 3, dtype=torch.float64)
    first, second = (SequenceBatch(zeros + u, zeros, mask) for u in (0.0, 1.0))
    for kind in ("linear", "spherical"):
        found = interpolate(run, first, second, 5, kind=kind)
        paths = mixed(*(latent_paths(run, each)[0] for each in (first, second)), shares_of(5), kind)
        for i, (each, path) in enumerate(zip(found, paths, strict=True)):
            near, far = (
                from_path(run, path, one, Decoder("greedy")) for one in ([first, second] if i < 3 else [second, first])
            )
            assert each.score == near.score != far.score


def test_how_long_a_decoding_is():
    run, words, bits = run_of(WORDS), collate([np.array([4, 5])]), run_of(BITS)
    never = Decoder("greedy", min_steps=100)
    assert len(rebuilt(run, words, never)[0].sequence) == 20
    assert len(rebuilt(run, collate([np.full(30, 4)]), never)[0].sequence) == 31
    assert len(rebuilt(run, words, never, teacher_forced=True)[0].sequence) == 3
    assert len(rebuilt(run, words, never, num_steps=7)[0].sequence) == 7
    zeros = torch.zeros(4, 1, 3, dtype=torch.float64)
    batch = SequenceBatch(zeros, zeros, torch.ones(4, 1, dtype=torch.bool))
    assert len(rebuilt(bits, batch)[0].sequence) == 4


def test_a_continuation_begins_with_the_input_of_its_sequence():
    run = run_of(BITS, family="rnn")  # in which no latent path depends on the inputs
    zeros = torch.zeros(2, 1, 3, dtype=torch.float64)
    batches = [SequenceBatch(zeros + u, zeros, torch.ones(2, 1, dtype=torch.bool)) for u in (0.0, 1.0)]
    first, second = (continue_prefix(run, batch, 4, Decoder("greedy")).sequences[0].score for batch in batches)
    assert first != second


def test_an_interpolation_has_two_ends():
    with pytest.raises(InputError, match="two ends"):
        shares_of(1)


def test_a_traverse_moves_one_unit():
    run = run_of(BITS, family="dmm")
    batch = SequenceBatch.from_sequences([np.eye(4, 3)])
    batch = replace(batch, inputs=batch.inputs.double(), targets=batch.targets.double())
    found = traverse(run, batch, 1, [-3.0, 0.0, 3.0])
    assert found[1].score == rebuilt(run, batch)[0].score
    (path,) = latent_paths(run, batch)
    moved = path + torch.tensor([0.0, 3.0, 0.0])
    assert found[2].score == from_path(run, moved, batch, Decoder("greedy")).score
    with pytest.raises(InputError, match="no unit 3"):
        traverse(run, batch, 3, [1.0])
