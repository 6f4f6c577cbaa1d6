"""The use of a latent variable as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zf_pyro.latents import ACTIVE
from zf_pyro.pictures import save_figure


def plot_usage(results: dict[str, Any], path: Path) -> None:
    """Draw KL over the steps, KL by units, and the bounds on I(x; z_1 .. z_t) into a png.

    Args:
        results: what latents.json holds.
        path: the file to write.

    Raises:
        OSError: it cannot be written.
    """
    found, step = results["latents"], results["step"]
    figure = Figure(figsize=(13, 4), layout="constrained")
    over_steps, by_unit, informed = figure.subplots(1, 3)
    draw_steps(over_steps, found["kl_by_step"], step)
    draw_units(by_unit, found["kl_by_unit"], step)
    draw_information(informed, found["information"], step)
    save_figure(figure, path)


def draw_steps(axes: Axes, values: list[float] | None, step: str) -> None:
    """KL_t, the mean over the sequences that have the step."""
    axes.set(title="KL(q || p) by steps", xlabel=step, ylabel="nats")
    if values is None:
        say_unknown(axes)
        return
    drawn = finite(values)
    axes.plot(np.arange(1, len(drawn) + 1), drawn, linewidth=1.2, marker="o" if len(drawn) == 1 else None)
    axes.set_ylim(bottom=np.nanmin([0.0, *drawn]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def draw_units(axes: Axes, values: list[float] | None, step: str) -> None:
    """KL of each unit, the greatest first."""
    axes.set(title="KL(q || p) by units of z, sorted", xlabel="unit", ylabel=f"nats per {step}")
    if values is None:
        say_unknown(axes)
        return
    axes.bar(np.arange(1, len(values) + 1), np.sort(finite(values))[::-1], width=1.0)
    axes.axhline(ACTIVE, color="black", linewidth=0.8, linestyle="--", label=f"active: more than {ACTIVE:g}")
    axes.set_yscale("symlog", linthresh=ACTIVE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small")


def draw_information(axes: Axes, found: dict[str, Any] | None, step: str) -> None:
    """The two bounds over t, the lower one with its standard error; the upper one up to twice the lower one's limit."""
    axes.set(title="I(x; z_1 .. z_t)", xlabel=step, ylabel="nats")
    if found is None:
        say_unknown(axes)
        return
    limit = math.log(found["num_sequences"])
    steps = np.arange(1, len(found["lower"]) + 1)
    lower, error, upper = (finite(found[name]) for name in ("lower", "error", "upper"))
    axes.fill_between(steps, lower - error, lower + error, alpha=0.2)
    for name, values in (("lower", lower), ("upper", upper)):
        axes.plot(steps, values, label=f"{name} bound", marker="o" if len(steps) == 1 else None)
    axes.axhline(limit, color="black", linewidth=0.8, linestyle="--", label=f"log {found['num_sequences']}")
    top = np.nanmax([*upper, *(lower + error), 0.1 * limit])
    axes.set_ylim(np.nanmin([0.0, *(lower - error)]), min(1.1 * top, 2 * limit))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def finite(values: list[float]) -> np.ndarray:
    """The numbers, those that cannot be drawn as NaN, which is left out."""
    numbers = np.array(values, dtype=float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def say_unknown(axes: Axes) -> None:
    """An empty panel."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, "not known of these laws", ha="center", va="center", transform=axes.transAxes)
