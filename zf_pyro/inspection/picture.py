"""The use of a latent variable as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    axes.plot(np.arange(1, len(values) + 1), values, linewidth=1.2, marker="o" if len(values) == 1 else None)
    axes.grid(alpha=0.3)


def draw_units(axes: Axes, values: list[float] | None, step: str) -> None:
    """KL of each unit, the greatest first."""
    axes.set(title="KL(q || p) by units of z, sorted", xlabel="unit", ylabel=f"nats a {step}")
    if values is None:
        say_unknown(axes)
        return
    axes.bar(np.arange(1, len(values) + 1), sorted(values, reverse=True), width=1.0)
    axes.axhline(ACTIVE, color="black", linewidth=0.8, linestyle="--", label=f"active: more than {ACTIVE:g}")
    axes.set_yscale("symlog", linthresh=ACTIVE)
    axes.legend(fontsize="small")


def draw_information(axes: Axes, found: dict[str, Any] | None, step: str) -> None:
    """The two bounds over t; the upper one only as far as it fits beside the lower one's limit."""
    axes.set(title="I(x; z_1 .. z_t)", xlabel=step, ylabel="nats")
    if found is None:
        say_unknown(axes)
        return
    limit = math.log(found["num_sequences"])
    steps = np.arange(1, len(found["lower"]) + 1)
    for name in ("lower", "upper"):
        axes.plot(steps, found[name], label=f"{name} bound", marker="o" if len(steps) == 1 else None)
    axes.axhline(limit, color="black", linewidth=0.8, linestyle="--", label=f"log {found['num_sequences']}")
    axes.set_ylim(min(0.0, *found["lower"]), 2 * limit)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def say_unknown(axes: Axes) -> None:
    """An empty panel."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, "not known of these laws", ha="center", va="center", transform=axes.transAxes)
