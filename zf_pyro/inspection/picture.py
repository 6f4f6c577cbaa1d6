"""The use of a latent variable as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zf_pyro.pictures import save_figure
from zf_pyro.plots import draw_steps, draw_units, finite, say_unknown


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
    draw_steps(over_steps, found["kl_by_step"], step, found["sequences_by_step"])
    draw_units(by_unit, found["kl_by_unit"], step)
    draw_information(informed, found["information"], step)
    save_figure(figure, path)


def draw_information(axes: Axes, found: dict[str, Any] | None, step: str) -> None:
    """The two bounds over t, the lower one with its standard error; the upper one up to twice the lower one's limit."""
    axes.set_title("I(x; z_1 .. z_t)", fontsize="medium")
    axes.set(xlabel=f"{step} t", ylabel="nats")
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
