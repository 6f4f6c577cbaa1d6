"""A latent traverse: one unit of z moved by the same offset at every step, and what is decoded then."""

from __future__ import annotations

from collections.abc import Sequence

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.errors import check
from zf_pyro.generation.decoder import Decoder
from zf_pyro.generation.decoding import Decoded
from zf_pyro.generation.posterior import latent_paths
from zf_pyro.generation.reconstruction import GREEDY, from_path
from zf_pyro.runs import LoadedRun


def traverse(
    run: LoadedRun,
    batch: SequenceBatch,
    unit: int,
    offsets: Sequence[float],
    decoder: Decoder = GREEDY,
    *,
    num_steps: int | None = None,
    seed: int = 0,
) -> list[Decoded]:
    """Decode a sequence from its path of means, one unit of it moved; of offset 0 it is the reconstruction.

    Args:
        run: model and guide.
        batch: one sequence with targets.
        unit: the number of the unit, from 0.
        offsets: what is added to the unit at every step, one for each sequence that is decoded.
        decoder: how x_t is chosen.
        num_steps: T; None as in `zf_pyro.generation.reconstruction.reconstruct`.
        seed: of all draws.

    Raises:
        InputError: as `latent_paths` and `decode`, or there is no such unit.
    """
    (path,) = latent_paths(run, batch, "mean", seed=seed)
    check(0 <= unit < path.shape[1], f"there is no unit {unit}; z has the units 0 to {path.shape[1] - 1}")
    found = []
    for offset in offsets:
        moved = path.clone()
        moved[:, unit] += offset
        found.append(from_path(run, moved, batch, decoder, num_steps=num_steps, seed=seed))
    return found
