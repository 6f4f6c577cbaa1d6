"""``zf-pyro encode``: what the guide makes of sequences, as numbers.

    mean_t  = E q(z_t | z_1 .. z_{t-1} = mean_1 .. mean_{t-1}, x),     scale_t its standard deviations

Of a Gaussian posterior, this path of means needs no draws. Where the law's mean is affine in z_1 .. z_{t-1}, mean_t is
also the mean of q(z_t | x), as of a Kalman smoother; else it need not be. scale_t leaves out how the past may vary. Of
another posterior mean and deviation are those of q(z_t | x), over some drawn paths.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.errors import InputError
from zf_pyro.files import explained, write_atomically
from zf_pyro.guides import Guide
from zf_pyro.noise import given_noise
from zf_pyro.scopes import evaluating, seeded
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms
from zf_pyro.tiles import Tile, keyed_chunks, tiles

PATHS = 64
"""Drawn of each sequence where the posterior is no Gaussian."""


class Encoded(NamedTuple):
    """What a guide makes of one sequence of n steps.

    Attributes:
        mean: (n, Z).
        scale: (n, Z).
        encoding: e_1 .. e_n, (n, size); None where the guide has no encoder.
    """

    mean: Tensor
    scale: Tensor
    encoding: Tensor | None


class NotGaussian(Exception):
    """A posterior's law is no Gaussian."""


class at_means(Messenger):
    """Inside, in the step form, every z_t is the mean of its law; mean and scale are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.means: list[Tensor] = []
        self.scales: list[Tensor] = []

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["name"].startswith("z_"):
            return
        law = msg["fn"]
        while isinstance(law, Independent):
            law = law.base_dist
        if not isinstance(law, Normal | MultivariateNormal):
            raise NotGaussian
        msg["value"], msg["done"] = law.mean, True
        self.means.append(law.mean)
        self.scales.append(law.stddev)


def encode(guide: Guide, batches: Iterable[SequenceBatch], *, seed: int = 0) -> tuple[list[Encoded], bool]:
    """What a guide makes of each sequence of `batches`, in their order, on the CPU; and whether means needed no draws.

    It depends on the sequence and the seed, not on the others beside it nor on their order.
    """
    found: dict[int, Encoded] = {}
    device = next(guide.model.parameters()).device
    exact = True
    with seeded(device, seed), evaluating(guide.model, guide), skip_terms(AUXILIARY, BACKWARD):
        for tile in tiles(batches):
            batch = tile.batch.to(device)
            encoding = guide.encode(batch)
            try:
                mean, scale = path_of_means(guide, batch, encoding)
            except NotGaussian:
                exact = False
                mean, scale = mean_of_paths(guide, tile._replace(batch=batch), encoding, seed)
            for b, place in enumerate(tile.places):
                here = slice(int(batch.lengths[b])), b
                states = None if encoding is None else encoding[here].cpu()
                found[place] = Encoded(mean[here].cpu(), scale[here].cpu(), states)
    return [found[place] for place in sorted(found)], exact


def require_means(guide: Any, *, with_encoding: bool) -> Guide:
    """The guide itself, where it has what is to be written.

    Raises:
        InputError: it is no `Guide`, or has no encoder whose states could be written.
    """
    if type(guide) is not Guide:
        raise InputError("the guide is a program of one's own, of which no means are known")
    if with_encoding and guide.encoder is None:
        raise InputError("this guide has no encoder, so there are no states of one; leave out --encoding")
    return guide


def path_of_means(guide: Guide, batch: SequenceBatch, encoding: Tensor | None) -> tuple[Tensor, Tensor]:
    """Means and scales along the path of means, each (T, B, Z).

    Raises:
        NotGaussian: the posterior is none.
    """
    with at_means() as along:
        guide(batch, encoding=encoding)
    return torch.stack(along.means), torch.stack(along.scales)


def mean_of_paths(guide: Guide, tile: Tile, encoding: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of z_t over `PATHS` drawn paths, each (T, B, Z)."""
    total = squares = torch.zeros(())
    drawn = 0
    for particles, noise in keyed_chunks(tile, PATHS, seed):
        with given_noise(noise), pyro.plate("particles", len(particles), dim=-2):
            paths = guide(tile.batch, encoding=encoding, form="path").double()  # (K, T, B, Z)
        total, squares, drawn = total + paths.sum(0), squares + paths.square().sum(0), drawn + len(particles)
    mean = total / drawn
    return mean, ((squares / drawn - mean.square()).clamp(min=0) * drawn / (drawn - 1)).sqrt()


def protocol(*, exact: bool) -> str:
    """What the means and scales are, in words."""
    if exact:
        return "mean and scale of q(z_t | z_1 .. z_{t-1}, x), z_1 .. z_{t-1} at their means"
    return f"mean and standard deviation of z_t over {PATHS} paths drawn from q(z | x)"


def write_encoded(path: Path, names: list[str], found: list[Encoded], about: str, *, with_encoding: bool) -> None:
    """Write what `encode` found as an .npz: sequences one after the other, `lengths` to part them, their names.

    States of the encoder are written where they are asked for; the guide must have one.

    Raises:
        InputError: the file cannot be written.
    """
    arrays: dict[str, Any] = {
        "names": np.array(names),
        "lengths": np.array([len(each.mean) for each in found]),
        "about": np.array(about),
    }
    for field in ("mean", "scale", *(["encoding"] if with_encoding else [])):
        arrays[field] = torch.cat([getattr(each, field) for each in found]).float().numpy()
    with explained(f"cannot write {path}"):
        write_atomically(path, lambda file: np.savez(file, **arrays))
