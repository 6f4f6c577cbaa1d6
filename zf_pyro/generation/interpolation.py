"""Interpolation along the latent paths of two sequences, and what is decoded from them.

linear     z_t(s) = (1 - s) a_t + s b_t
spherical  z_t(s) = r [sin((1 - s) w) a_t / |a_t| + sin(s w) b_t / |b_t|] / sin(w),    w the angle between a_t and b_t

step by step, with r = (1 - s) |a_t| + s |b_t|. (Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985,
for |a_t| = |b_t|.) Where a_t and b_t have the same or the opposite direction, or one of them is 0, the mix is linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.errors import check
from zf_pyro.generation.decoder import Decoder
from zf_pyro.generation.decoding import Decoded
from zf_pyro.generation.posterior import DRAWS, How, latent_paths
from zf_pyro.generation.reconstruction import GREEDY, from_path
from zf_pyro.runs import LoadedRun

Mixing = Literal["linear", "spherical"]
LEAST_SINE = 1e-4
"""Of the angle between two vectors that are not taken for parallel."""
LEAST_LENGTH = 1e-30
"""Of a vector that has a direction; a shorter one is taken for 0."""


def shares_of(num_points: int) -> list[float]:
    """Shares of the second sequence from 0 to 1, evenly: 0, 0.1, .., 1 of 11 points.

    Raises:
        InputError: there are fewer than two.
    """
    check(num_points >= 2, f"an interpolation has at least its two ends, not {num_points} points")
    return [i / (num_points - 1) for i in range(num_points)]


def mixed(first: Tensor, second: Tensor, shares: Sequence[float], kind: Mixing = "linear") -> list[Tensor]:
    """Paths between two, one for each share of the second: that of share 0 is the first, that of share 1 the second.

    Beyond the end of the shorter one the longer one's z_t stands alone.

    Args:
        first: (n, Z).
        second: (m, Z).
        shares: between 0 and 1.
        kind: "linear" or "spherical".

    Returns:
        Each of max(n, m) steps, but at the shares 0 and 1 of n and of m.
    """
    both = min(len(first), len(second))
    rest = max(first, second, key=len)[both:]
    mix = slerp if kind == "spherical" else lerp
    ends = {0.0: first, 1.0: second}
    return [ends[s] if s in ends else torch.cat([mix(first[:both], second[:both], s), rest]) for s in shares]


def lerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Vectors (..., Z) on the straight lines between others."""
    return torch.lerp(first, second, share)


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Vectors (..., Z) on the arcs between others, their lengths mixed linearly."""
    a, b = first.double(), second.double()
    lengths = [each.norm(dim=-1, keepdim=True) for each in (a, b)]
    unit_a, unit_b = (each / length.clamp(min=LEAST_LENGTH) for each, length in zip((a, b), lengths, strict=True))
    # By both chords, exact of near vectors too; the arc cosine of a product loses half of the digits there.
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=-1, keepdim=True), (unit_a + unit_b).norm(dim=-1, keepdim=True))
    sine = angle.sin()
    direction = (((1 - share) * angle).sin() * unit_a + (share * angle).sin() * unit_b) / sine
    arc = direction * torch.lerp(lengths[0], lengths[1], share)
    straight = (sine.abs() < LEAST_SINE) | (lengths[0] < LEAST_LENGTH) | (lengths[1] < LEAST_LENGTH)
    return torch.where(straight, torch.lerp(a, b, share), arc).to(first.dtype)


def interpolate(
    run: LoadedRun,
    first: SequenceBatch,
    second: SequenceBatch,
    num_points: int = 11,
    decoder: Decoder = GREEDY,
    *,
    kind: Mixing = "linear",
    how: How = "mean",
    draws: int = DRAWS,
    num_steps: int | None = None,
    seed: int = 0,
) -> list[Decoded]:
    """Decode the paths between those of two sequences, both ends included.

    The ends are the reconstructions of the two, exactly. u_1 is that of the nearer one, and of the first at a half.

    Args:
        run: model and guide.
        first: one sequence with targets.
        second: another.
        num_points: paths, at shares 0, .., 1 of the second.
        decoder: how x_t is chosen.
        kind: see `mixed`.
        how: which path of each sequence, and of how many `draws`; see `latent_paths`.
        draws: K.
        num_steps: T; None for the length of the path, and for text that or 20, whichever is more.
        seed: of all draws.

    Raises:
        InputError: as `latent_paths` and `decode`, or fewer than two points.
    """
    shares = shares_of(num_points)
    (start,), (end,) = (latent_paths(run, each, how, draws=draws, seed=seed) for each in (first, second))
    paths = mixed(start, end, shares, kind)
    return [
        from_path(run, path, first if share <= 0.5 else second, decoder, num_steps=num_steps, seed=seed)
        for path, share in zip(paths, shares, strict=True)
    ]
