"""The use of a latent variable in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from zf_pyro.inspection.information import told_steps
from zf_pyro.latents import ACTIVE
from zf_pyro.tables import aligned

MOST_UNITS = 10
"""Units of a table in the terminal."""


def told(results: dict[str, Any]) -> Iterator[str]:
    """The figures of `zf_pyro.inspection.usage` in lines.

    Args:
        results: what latents.json holds.
    """
    found, sequence, step = results["latents"], results["sequence"], results["step"]
    yield (
        f"Latent variable, {found['num_sequences']:,} {sequence}s of the test split, {found['num_steps']:,} {step}s, "
        f"{found['num_particles']} particles:"
    )
    yield f"  KL {found['kl']:.3f} nats per {sequence}, {found['kl_per_step']:.4f} per {step}"
    yield from told_units(found, step)
    yield from told_by_steps(found, step)
    yield f"When z is drawn from the prior instead of the posterior, nats per {sequence}:"
    rows: list[tuple[str, ...]] = [("", "posterior", "prior", "loss", "+-")]
    for label, name in (("reconstruction", "reconstruction"), ("IW bound", "iw_bound")):
        keys = (name, f"{name}_by_prior", f"{name}_loss", f"{name}_loss_se")
        rows.append((f"  {label}", *(number(found[key], 3) for key in keys)))
    yield from aligned(rows)


def told_units(found: dict[str, Any], step: str) -> Iterator[str]:
    """KL by units, the greatest first."""
    if found["kl_by_unit"] is None:
        yield "  KL by units: -, since the laws are no diagonal Gaussians (KL by steps: at the draws)"
        return
    units = np.array(found["kl_by_unit"])
    active = number(found["active_units"], 0)
    yield f"  active units: {active} of {len(units)}, of more than {ACTIVE:g} nats per {step} each; the greatest:"
    order = units.argsort()[::-1][:MOST_UNITS]
    yield "  " + "  ".join(f"z[{i}] {units[i]:.4f}" for i in order.tolist())


def told_by_steps(found: dict[str, Any], step: str) -> Iterator[str]:
    """KL and information at some steps."""
    if found["kl_by_step"] is None:
        yield "  KL by steps, I(x; z): -, since model or guide is a program of one's own"
        return
    info = found["information"]
    curves = [info[name] if info else [] for name in ("lower", "error", "upper")]
    yield f"By {step}s, nats: KL_t, an upper bound on what z_t adds to what x_1 .. x_(t-1) and z_1 .. z_(t-1) say of x;"
    yield f"  I = I(x; z_1 .. z_t), what the path says of x{limited(info)}"
    rows: list[tuple[str, ...]] = [(f"  {step}", "sequences", "KL_t", "I at least", "+-", "I at most")]
    for t in told_steps(len(found["kl_by_step"])):
        known = [number(values[t - 1] if t <= len(values) else None, 4) for values in curves]
        rows.append((f"  {t}", f"{found['sequences_by_step'][t - 1]:,}", number(found["kl_by_step"][t - 1], 4), *known))
    yield from aligned(rows)


def limited(info: dict[str, Any] | None) -> str:
    """By how many sequences the information was bounded, and what that cannot exceed."""
    if info is None:
        return ": not known of a single sequence"
    count = info["num_sequences"]
    return f", by {count} sequences: the lower bound is at most log {count} = {math.log(count):.3f}"


def number(value: float | None, digits: int) -> str:
    """A figure, or "-" where it is not known."""
    return "-" if value is None else f"{value:.{digits}f}"
