"""Sequences decoded from the latent paths that the guide infers from them, and continuations of a prefix.

Each sequence is decoded on its own by the noise of the same seed: what differs between two of them is due to what they
are decoded from, and none depends on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.errors import check
from zf_pyro.generation.decoder import Decoder
from zf_pyro.generation.decoding import Decoded, decode
from zf_pyro.generation.posterior import DRAWS, How, drawn_paths, latent_paths, require_programs, resampled
from zf_pyro.generation.rollout import Latent
from zf_pyro.runs import LoadedRun

GREEDY = Decoder("greedy")
WORDS = 20
"""Of a sentence at least, as the authors of Z-Forcing decoded, unless it ends before."""


def reconstruct(
    run: LoadedRun,
    batch: SequenceBatch,
    decoder: Decoder = GREEDY,
    *,
    how: How = "mean",
    draws: int = DRAWS,
    teacher_forced: bool = False,
    num_steps: int | None = None,
    seed: int = 0,
) -> list[Decoded]:
    """Decode each sequence of a batch from its own latent path.

    u_1 is the sequence's own. Then u_t is what was decoded before it, or with `teacher_forced` what really stood there.

    Args:
        run: model and guide.
        batch: sequences with targets.
        decoder: how x_t is chosen.
        how: which path, and of how many `draws`; see `latent_paths`.
        draws: K.
        teacher_forced: whether u_t is the sequence's own at every step.
        num_steps: T; None for the length of the sequence, and for text that or `WORDS`, whichever is more.
        seed: of all draws.

    Raises:
        InputError: as `latent_paths` and `decode`.
    """
    paths = latent_paths(run, batch, how, draws=draws, seed=seed)
    return [
        from_path(run, path, one, decoder, teacher_forced=teacher_forced, num_steps=num_steps, seed=seed)
        for path, one in zip(paths, singly(batch), strict=True)
    ]


def from_path(
    run: LoadedRun,
    path: Tensor,
    one: SequenceBatch,
    decoder: Decoder,
    *,
    teacher_forced: bool = False,
    num_steps: int | None = None,
    seed: int = 0,
) -> Decoded:
    """Decode one sequence from a path (n, Z), u_1 or with `teacher_forced` every u_t being that of a given sequence."""
    given = one.inputs[: one.num_steps if teacher_forced else 1, 0]
    steps = num_steps or default_steps(run, len(path), free=not teacher_forced)
    (found,) = decode(run, steps, decoder, latents=[path], inputs=[given], seed=seed)
    return found


def default_steps(run: LoadedRun, length: int, *, free: bool = True) -> int:
    """How many steps are decoded of a path of a length."""
    return max(length, WORDS) if free and run.observation.law == "categorical" else length


class Continued(NamedTuple):
    """Continuations of one prefix.

    Attributes:
        sequences: the prefix comes first in each.
        effective: how many draws the weights of its paths are worth; None where it has no latent path.
    """

    sequences: list[Decoded]
    effective: float | None


def continue_prefix(
    run: LoadedRun,
    batch: SequenceBatch,
    num_steps: int,
    decoder: Decoder = Decoder(),  # noqa: B008 - immutable
    *,
    prefix_steps: int | None = None,
    count: int = 1,
    draws: int = DRAWS,
    latent: Latent = "draw",
    seed: int = 0,
) -> Continued:
    """Continue a prefix x_1 .. x_m: z_1 .. z_m from p(z | x_1 .. x_m), what comes after from the model.

    The guide takes the prefix for a whole sequence, which it is not. So K of its draws are weighed under the model, and
    one of them is picked for each continuation by its weight; see `zf_pyro.generation.posterior`.

    Args:
        run: model and guide.
        batch: one sequence with targets.
        num_steps: T, the prefix included.
        decoder: how x_t is chosen after the prefix.
        prefix_steps: m: the prefix is so many of the sequence's steps, perhaps none; None takes all, but </s>.
        count: continuations.
        draws: K, over all of them.
        latent: what z_t is after the prefix.
        seed: of all draws.

    Raises:
        InputError: as `latent_paths` and `decode`, or there is nothing to decode behind the prefix.
    """
    require_programs(run)
    prefix = prefix_of(run, batch, prefix_steps)
    targets, length, name = prefix.targets, prefix.num_steps, run.observation.step
    assert targets is not None
    check(num_steps > length, f"{num_steps} {name}s leave nothing to decode behind a prefix of {length}")
    latents, effective = None, None
    if run.config.model.family != "rnn" and length:
        (drawn,) = drawn_paths(run, prefix, draws, seed=seed)
        latents, effective = resampled(drawn, count, seed=seed), drawn.effective
    found = decode(
        run,
        num_steps,
        decoder,
        count=count,
        latents=latents,
        prefix=[targets[:, 0]] * count,
        inputs=[batch.inputs[:1, 0]] * count,
        latent=latent,
        seed=seed,
    )
    return Continued(found, effective)


def prefix_of(run: LoadedRun, batch: SequenceBatch, steps: int | None) -> SequenceBatch:
    """The first steps of one sequence; None takes all. </s> is no part of a beginning.

    Raises:
        InputError: it has fewer.
    """
    name = run.observation.step
    whole = batch.num_steps - (run.observation.law == "categorical")
    steps = whole if steps is None else steps
    check(0 <= steps <= whole, f"a prefix of {steps} {name}s, and the {run.observation.sequence} has {whole}")
    return batch.until(steps)


def singly(batch: SequenceBatch) -> Iterator[SequenceBatch]:
    """The sequences of a batch, each as a batch of its own without padding."""
    for b, length in enumerate(batch.lengths.tolist()):
        yield batch.part(b, b + 1).until(length)
