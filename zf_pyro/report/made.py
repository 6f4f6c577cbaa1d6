"""What is decoded from latent paths of test sequences: reconstructions, interpolations, latent traverses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zf_pyro.analysis import sentence
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.generation.decoder import Decoder
from zf_pyro.generation.decoding import Decoded, given
from zf_pyro.generation.interpolation import interpolate, shares_of
from zf_pyro.generation.posterior import require_posterior
from zf_pyro.generation.reconstruction import reconstruct
from zf_pyro.generation.traverse import traverse
from zf_pyro.report.blocks import Block, Note, Table
from zf_pyro.report.material import Material
from zf_pyro.report.sequences import players, shown

SHORT = 100
"""Steps up to which a sequence counts as short, and there may be more of it on the page."""

MOST_STEPS = 400
"""Steps of a test sequence that is no text and no image; of a longer one its beginning is taken."""

GREEDY, GREEDY_WORDS, DRAWS = Decoder("greedy"), Decoder("greedy", forbid_unknown=True), Decoder("sample")
OFFSETS = (-3.0, -1.5, 0.0, 1.5, 3.0)
MOST_UNITS = 3


def reconstructions(material: Material) -> list[Block]:
    """Test sequences beside what is decoded from their latent paths.

    Raises:
        InputError: there is no data, or no latent path can be asked for.
    """
    places = some_places(material, 6 if is_short(material) else 2)
    ones = [one(material, place) for place in places]
    found = [
        each
        for batch in ones
        for each in reconstruct(material.run, batch, decoder_of(material), seed=material.config.seed)
    ]
    names = [name_of(material, place) for place in places]
    about = f"{manner(material)} from the path of the posterior's means, fed with its own output"
    about += cut_note(ones, material)
    if material.vocabulary is not None:
        rows = [
            (name, sentence_of(material, place), said(material, each))
            for name, place, each in zip(names, places, found, strict=True)
        ]
        caption = f"Test {material.observation.sequence}s, and what is {about}"
        return [Table(caption, ("number", "original", "reconstruction"), rows, words=frozenset({1, 2}), stacks=True)]
    pairs = [
        x for batch, each in zip(ones, found, strict=True) for x in (given(batch, material.observation), each.sequence)
    ]
    titles = [title for name in names for title in (name, "decoded")]
    caption = f"Test {material.observation.sequence}s, each before what is {about}"
    return [*shown(pairs, titles, material.observation, caption), *players(pairs, titles, material.observation)]


def interpolations(material: Material) -> list[Block]:
    """Pairs of test sequences, two of short ones and else one, with what is decoded between them.

    Raises:
        InputError: there is no data, or no latent path can be asked for.
    """
    places = some_places(material, 4 if is_short(material) else 2)
    pairs = [(places[i], places[i + 1]) for i in range(0, len(places) - 1, 2)]
    blocks = [block for pair in pairs for block in between(material, *pair)]
    return blocks or [Note("There is no pair of test sequences.")]


def between(material: Material, first: int, second: int) -> list[Block]:
    """The sequences between two of the test split."""
    shares = shares_of(11 if is_short(material) else 5)
    start, end = one(material, first), one(material, second)
    found = interpolate(material.run, start, end, len(shares), decoder_of(material), seed=material.config.seed)
    a, b = name_of(material, first), name_of(material, second)
    caption = f"From {a} to {b}: the paths of the posterior's means mixed linearly, {manner(material)}"
    caption += f"{cut_note([start, end], material)}; by the share of the second"
    if material.vocabulary is not None:
        rows = [(f"{share:.1f}", said(material, each)) for share, each in zip(shares, found, strict=True)]
        rows = [("first", sentence_of(material, first)), *rows, ("second", sentence_of(material, second))]
        marked = frozenset({0, len(rows) - 1})
        return [Table(caption, ("share", material.observation.sequence), rows, marked, frozenset({1}))]
    titles = [f"{share:g}" for share in shares]
    return shown([each.sequence for each in found], titles, material.observation, caption)


def traverses(material: Material) -> list[Block]:
    """A test sequence decoded with single units of its path moved, those with the greatest KL.

    Raises:
        InputError: there is no data, or no latent path can be asked for.
    """
    require_posterior(material.run)
    (place,) = some_places(material, 1)
    found = material.divergences
    if found is None or found.by_unit is None:
        return [Note("Which units of z carry most is not known of these laws, so none is moved here.")]
    known = np.array(found.by_unit, dtype=float)
    order = np.argsort(-np.nan_to_num(known), kind="stable")[: MOST_UNITS if is_short(material) else 1]
    batch, blocks = one(material, place), []
    for unit in order.tolist():
        decoded = traverse(material.run, batch, unit, OFFSETS, decoder_of(material), seed=material.config.seed)
        caption = (
            f"{name_of(material, place).capitalize()}, unit {unit} of z (KL {known[unit]:.4f} nats per "
            f"{material.observation.step}) moved by an offset at every step, {manner(material)}"
        )
        caption += cut_note([batch], material)
        blocks += moved(material, decoded, caption)
    return blocks


def moved(material: Material, found: Sequence[Decoded], caption: str) -> list[Block]:
    """What is decoded at each offset."""
    titles = [f"{offset:+g}" if offset else "0" for offset in OFFSETS]
    if material.vocabulary is not None:
        rows = [(title, said(material, each)) for title, each in zip(titles, found, strict=True)]
        if len({sentence for _, sentence in rows}) == 1:
            return [Note(f"{caption}: {len(rows)} offsets from {titles[0]} to {titles[-1]} all give “{rows[0][1]}”.")]
        return [Table(caption, ("offset", material.observation.sequence), rows, words=frozenset({1}))]
    return shown([each.sequence for each in found], titles, material.observation, caption)


def some_places(material: Material, count: int) -> list[int]:
    """The places in the test split of some of the run's test sequences, the same for every part of the page."""
    tested = material.tested
    order = np.random.default_rng(material.config.data.split_seed).permutation(len(tested))
    return tested[order[:count]].tolist()


def decoder_of(material: Material) -> Decoder:
    """The most probable value at every step, of words but <unk>; of music, whose notes are all improbable, draws."""
    if material.observation.steps_per_beat:
        return DRAWS
    return GREEDY if material.vocabulary is None else GREEDY_WORDS


def manner(material: Material) -> str:
    """How that is said."""
    return "decoded by draws of the same noise" if decoder_of(material) is DRAWS else "decoded greedily"


def is_short(material: Material) -> bool:
    """Whether the sequences are text, or images of few pixels."""
    observation = material.observation
    return material.vocabulary is not None or bool(observation.rows and observation.sample_steps <= SHORT)


def one(material: Material, place: int) -> SequenceBatch:
    """A sequence of the test split as a batch, or its beginning."""
    batch = material.data.test.batch(np.array([place]))
    if material.vocabulary is not None or material.observation.rows or batch.num_steps <= MOST_STEPS:
        return batch
    return batch.until(MOST_STEPS)


def cut_note(ones: Sequence[SequenceBatch], material: Material) -> str:
    """What to say where sequences were cut."""
    longest = max(batch.num_steps for batch in ones)
    whole = material.vocabulary is not None or material.observation.rows or longest < MOST_STEPS
    return "" if whole else f"; of longer ones the first {MOST_STEPS} {material.observation.step}s"


def name_of(material: Material, place: int) -> str:
    """What a sequence of the test split is called."""
    return f"{material.observation.sequence} {place}"


def sentence_of(material: Material, place: int) -> str:
    """A sentence of the test split as the model knows it."""
    assert material.vocabulary is not None
    return material.vocabulary.decode(material.data.test.scored(np.array([place])).tolist())


def said(material: Material, found: Decoded) -> str:
    """A decoded sentence; "..." where it was not ended."""
    assert material.vocabulary is not None
    return sentence(found, material.vocabulary)
