"""Figures of a run: its training, its KL, its bound. They are narrow, to be read on a telephone too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zf_pyro.latents import ACTIVE
from zf_pyro.pictures import WIDTH, save_figure

PANELS = {
    "Evidence lower bound": ("elbo", "valid_elbo", "valid_iw_bound"),
    "KL(q || p)": ("kl", "valid_kl"),
    "Auxiliary error, -log p(b | z)": ("auxiliary",),
    "Backward model, log p": ("backward",),
}
LABELS = {
    "valid_elbo": "validation, ELBO",
    "valid_iw_bound": "validation, importance-weighted bound",
    "valid_kl": "validation",
}
ERRORS = {"auxiliary"}
"""Metrics of which the negative is drawn."""


def plot_curves(records: Iterable[dict[str, Any]], path: Path, step: str = "step") -> None:
    """Draw the metrics of a run into a png, as `curves_figure` does."""
    save_figure(curves_figure(records, step), path)


def curves_figure(records: Iterable[dict[str, Any]], step: str = "step") -> Figure:
    """The metrics of a run, in nats per step over updates; a term that was not computed is left out.

    Per step, because a batch holds sequences of similar lengths, and lengths differ between batches.

    Args:
        records: the lines of metrics.jsonl.
        step: what a step is called.
    """
    lines = list(records)
    if all(line.get("valid_particles") in (None, 1) for line in lines):  # then the two bounds are one
        lines = [{name: value for name, value in line.items() if name != "valid_iw_bound"} for line in lines]
    seen = {name for line in lines for name, value in line.items() if value is not None}
    panels = {title: names for title, names in PANELS.items() if title == next(iter(PANELS)) or seen & {*names}}
    figure = Figure(figsize=(WIDTH, 2.6 * len(panels)), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(len(panels), squeeze=False).flat, panels.items(), strict=True):
        for name in names:
            length = "valid_length" if name.startswith("valid_") else "length"
            draw(axes, name, [(r["step"], r[name], r[length]) for r in lines if r.get(name) is not None])
        axes.set(title=title, xlabel="updates", ylabel=f"nats per {step}")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    return figure


def draw(axes: Axes, name: str, points: list[tuple[int, float, float]]) -> None:
    """One curve: validations with markers, training as a running mean over a fiftieth of its updates.

    Args:
        axes: to draw into.
        name: of the metric.
        points: updates, nats per sequence, and steps per sequence.
    """
    if not points:
        return
    updates, values, lengths = np.array(points, dtype=float).T
    if name in ERRORS:
        values = -values
    if name.startswith("valid_"):
        axes.plot(updates, values / lengths, marker="o", markersize=4, label=LABELS[name])
        return
    width = max(1, len(values) // 50)
    window = np.ones(width)
    mean = np.convolve(values, window, mode="valid") / np.convolve(lengths, window, mode="valid")
    label = "training" if width == 1 else f"training, mean of {width} updates"
    axes.plot(updates[width - 1 :], mean, linewidth=1.2, label=label)


def kl_figure(
    by_step: Sequence[float | None] | None,
    counts: Sequence[int] | None,
    by_unit: Sequence[float | None] | None,
    step: str = "step",
) -> Figure:
    """KL of posterior from prior over the steps, and by units of z.

    Args:
        by_step: KL_t, nats, t = 1 .. T; None where it is not known.
        counts: the sequences that have the step.
        by_unit: of each unit, nats per step; None where it is not known.
        step: what a step is called.
    """
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    over_steps, units = figure.subplots(2, 1)
    draw_steps(over_steps, by_step, step, counts)
    draw_units(units, by_unit, step)
    return figure


def draw_steps(
    axes: Axes, values: Sequence[float | None] | None, step: str, counts: Sequence[int] | None = None
) -> None:
    """KL_t, the mean over the sequences that have the step."""
    axes.set(title="KL(q || p) over time", xlabel=step, ylabel="nats")
    if values is None:
        say_unknown(axes)
        return
    drawn = finite(values)
    axes.plot(np.arange(1, len(drawn) + 1), drawn, linewidth=1.2, marker="o" if len(drawn) == 1 else None)
    axes.set_ylim(bottom=np.nanmin([0.0, *drawn]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def draw_units(axes: Axes, values: Sequence[float | None] | None, step: str) -> None:
    """KL of each unit, the greatest first."""
    axes.set(title="KL(q || p) by units of z, sorted", xlabel="unit", ylabel=f"nats per {step}")
    if values is None:
        say_unknown(axes)
        return
    axes.bar(np.arange(1, len(values) + 1), np.sort(finite(values))[::-1], width=1.0)
    axes.axhline(ACTIVE, color=ink(), linewidth=0.8, linestyle="--", label=f"active: more than {ACTIVE:g}")
    axes.set_yscale("symlog", linthresh=ACTIVE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small")


def bound_figure(
    curve: Mapping[Any, float | None],
    errors: Mapping[Any, float | None] | None,
    elbo: float | None,
    sequence: str = "sequence",
) -> Figure:
    """The importance-weighted bound against the number of particles, beside the ELBO.

    Args:
        curve: the bound by K particles, for each K, which may be its text as in results.json.
        errors: standard errors of these, where they are known.
        elbo: the evidence lower bound.
        sequence: what a sequence is called.
    """
    counts = [int(count) for count in curve]
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    spread = None if errors is None else finite([errors.get(count) for count in curve])
    axes.errorbar(counts, finite(list(curve.values())), yerr=spread, marker="o", capsize=3, label="bound")
    if elbo is not None:
        axes.axhline(elbo, color=ink(), linewidth=0.8, linestyle="--", label="ELBO")
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set(title="Importance-weighted bound", xlabel="particles K", ylabel=f"nats per {sequence}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def finite(values: Sequence[float | None]) -> np.ndarray:
    """The numbers, those that cannot be drawn as NaN, which is left out."""
    numbers = np.array(values, dtype=float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def say_unknown(axes: Axes) -> None:
    """An empty panel."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, "not known of these laws", ha="center", va="center", transform=axes.transAxes)


def ink() -> str:
    """The colour of letters on the page that is drawn for."""
    return matplotlib.rcParams["text.color"]
