"""Figures of a run: its training, its KL, its bound. They are narrow, to be read on a telephone too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, SymmetricalLogLocator

from zf_pyro.latents import ACTIVE
from zf_pyro.pictures import WIDTH, save_figure


class Panel(NamedTuple):
    """A panel of the curves.

    Attributes:
        title: in words.
        names: of the metrics in it.
        sign: -1 where their negatives are drawn.
        unit: of what is no nats per step; empty of what is.
    """

    title: str
    names: tuple[str, ...]
    sign: int = 1
    unit: str = ""


BOUND = Panel("Evidence lower bound", ("elbo", "valid_elbo", "valid_iw_bound"))
PANELS = (
    BOUND,
    Panel("KL(q || p)", ("kl", "valid_kl")),
    Panel("Auxiliary error, -log p(b | z)", ("auxiliary",), sign=-1),
    Panel("Backward model, log p(u | b)", ("backward",)),
    Panel("Norm of the gradient, before clipping", ("gradient_norm",), unit="norm"),
    Panel("Learning rate", ("learning_rate",), unit="rate"),
)
LABELS = {
    "valid_elbo": "validation, ELBO",
    "valid_iw_bound": "validation, importance-weighted bound",
    "valid_kl": "validation",
}


def plot_curves(records: Iterable[dict[str, Any]], path: Path, step: str = "step") -> None:
    """Draw the metrics of a run into a png, as `curves_figure` does."""
    save_figure(curves_figure(records, step), path)


def curves_figure(records: Iterable[dict[str, Any]], step: str = "step") -> Figure:
    """The metrics of a run over updates, in nats per step; what was not computed, or never changed, is left out.

    Per step, because a batch holds sequences of similar lengths, and lengths differ between batches.

    Args:
        records: the lines of metrics.jsonl.
        step: what a step is called.
    """
    lines = list(records)
    if all(line.get("valid_particles") in (None, 1) for line in lines):  # then the two bounds are one
        lines = [{name: value for name, value in line.items() if name != "valid_iw_bound"} for line in lines]
    panels = [panel for panel in PANELS if panel is BOUND or is_worth_drawing(panel, lines)]
    figure = Figure(figsize=(WIDTH, 2.0 * len(panels) + 0.4), layout="constrained")
    stacked = figure.subplots(len(panels), squeeze=False, sharex=True).flat
    for axes, panel in zip(stacked, panels, strict=True):
        for name in panel.names:
            draw(axes, name, points_of(name, panel, lines))
        axes.set_title(panel.title, fontsize="medium")
        axes.set_ylabel(panel.unit or f"nats per {step}")
        axes.grid(alpha=0.3)
        if panel.unit:
            set_log_scale(axes)
        if len(axes.lines) > 1:
            axes.legend(fontsize="small")
    axes.set_xlabel("updates")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.align_ylabels()
    return figure


def is_worth_drawing(panel: Panel, lines: Sequence[dict[str, Any]]) -> bool:
    """Whether a run has what is in a panel; of a learning rate, whether it changed."""
    seen = {line[name] for line in lines for name in panel.names if line.get(name) is not None}
    return len(seen) > ("learning_rate" in panel.names)


def points_of(name: str, panel: Panel, lines: Sequence[dict[str, Any]]) -> list[tuple[int, float, float]]:
    """Updates, values and the steps by which to divide them, 1 where the value is not of a sequence."""
    length = "valid_length" if name.startswith("valid_") else "length"
    return [
        (line["step"], panel.sign * line[name], 1.0 if panel.unit else line[length])
        for line in lines
        if line.get(name) is not None
    ]


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
    if name.startswith("valid_"):
        axes.plot(updates, values / lengths, marker="o", markersize=4, label=LABELS[name])
        return
    width = max(1, len(values) // 50)
    mean = running_mean(values, lengths, width)
    label = "training" if width == 1 else f"training, mean of {width} updates"
    axes.plot(updates[width - 1 :], mean, linewidth=1.2, marker="." if len(mean) == 1 else None, label=label)


def running_mean(values: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Nats per step over the last `width` of (N,) updates, at each that ends so many: (N - width + 1,).

    Args:
        values: (N,) nats per sequence.
        lengths: (N,) steps per sequence.
        width: at most N.
    """
    window = np.ones(width)
    return np.convolve(values, window, mode="valid") / np.convolve(lengths, window, mode="valid")


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
    """KL_t, the mean over the sequences that have the step; dotted where less than a tenth of them have it."""
    axes.set_title("KL(q || p) over time", fontsize="medium")
    axes.set(xlabel=f"{step} t", ylabel="nats")
    if values is None:
        say_unknown(axes)
        return
    drawn, steps = finite(values), np.arange(1, len(values) + 1)
    many = len(drawn) if counts is None else max(1, int((10 * np.array(counts) >= max(counts)).sum()))
    axes.plot(steps[:many], drawn[:many], linewidth=1.2, marker="o" if many == 1 else None)
    if many < len(drawn):
        few = "less than a tenth of the sequences"
        axes.plot(steps[many - 1 :], drawn[many - 1 :], ":C0", linewidth=1.0, label=few)
        axes.legend(fontsize="small", loc="upper right")
        axes.margins(y=0.25)
    axes.set_ylim(bottom=np.nanmin([0.0, *drawn]))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(alpha=0.3)


def draw_units(axes: Axes, values: Sequence[float | None] | None, step: str) -> None:
    """KL of each unit, the greatest first; in proportion up to the threshold of active units, logarithmic above it."""
    axes.set_title("KL(q || p) by units of z, sorted", fontsize="medium")
    axes.set(xlabel="units", ylabel=f"nats per {step}")
    if values is None:
        say_unknown(axes)
        return
    axes.bar(np.arange(1, len(values) + 1), -np.sort(-finite(values)), width=1.0)
    axes.axhline(ACTIVE, color="black", linewidth=0.8, linestyle="--", label=f"active: more than {ACTIVE:g}")
    axes.set_yscale("symlog", linthresh=ACTIVE)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=ACTIVE, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(fontsize="small")


def bound_figure(
    curve: Mapping[Any, float | None],
    errors: Mapping[Any, float] | None,
    elbo: float | None,
    sequence: str = "sequence",
    gain_errors: Mapping[Any, float] | None = None,
) -> Figure:
    """The importance-weighted bound against the number of particles, beside the ELBO; below it what particles gain.

    All K are tried on the same sequences, so that what is gained is known far better than the bound itself.

    Args:
        curve: the bound by K particles, nats per sequence, for each K; here as below, K may be a text, as in JSON.
        errors: standard errors of these (`zf_pyro.scores.curve_errors`); None where they are not known.
        elbo: the evidence lower bound.
        sequence: what a sequence is called.
        gain_errors: standard errors of what is gained over the fewest particles; None where they are not known.
    """
    counts, bounds = [int(count) for count in curve], finite(list(curve.values()))
    panels = 2 if len(counts) > 1 else 1
    figure = Figure(figsize=(WIDTH, 2.4 * panels + 0.2), layout="constrained")
    top, *rest = figure.subplots(panels, squeeze=False, sharex=True).flat
    with_errors(top, counts, bounds, errors)
    if elbo is not None:
        top.axhline(elbo, color="black", linewidth=0.8, linestyle="--")
        beside = {"xycoords": ("axes fraction", "data"), "xytext": (4, 0), "textcoords": "offset points"}
        top.annotate("ELBO", (1, elbo), va="center", fontsize="small", **beside)
    top.set_title("Importance-weighted bound" + (", with standard errors" if errors else ""), fontsize="medium")
    top.set_ylabel(f"nats per {sequence}")
    for axes in rest:
        with_errors(axes, counts, bounds - bounds[0], gain_errors)
        axes.set_title(
            f"what is gained over K = {counts[0]}" + (", with standard errors" * bool(gain_errors)), fontsize="medium"
        )
        axes.set_ylabel(f"nats per {sequence}")
    last = [top, *rest][-1]
    last.set_xscale("log")
    last.set_xticks(counts, [f"{count:,}" for count in counts], rotation=45 if len(counts) > 5 else 0)
    last.minorticks_off()
    last.set_xlabel("particles K")
    figure.align_ylabels()
    return figure


def with_errors(axes: Axes, counts: Sequence[int], values: np.ndarray, errors: Mapping[Any, float] | None) -> None:
    """Points joined by a line, with bars of one standard error to either side where these are known."""
    known = {int(count): error for count, error in (errors or {}).items()}
    spread = finite([known.get(count) for count in counts]) if known else None
    axes.errorbar(counts, values, yerr=spread, marker="o", markersize=4, capsize=3)
    axes.grid(alpha=0.3)


def set_log_scale(axes: Axes) -> None:
    """A logarithmic scale upwards, at 1, 2, 5, 10 and so on."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def finite(values: Sequence[float | None]) -> np.ndarray:
    """The numbers, those that cannot be drawn as NaN, which is left out."""
    numbers = np.array(values, dtype=float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def say_unknown(axes: Axes) -> None:
    """An empty panel."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, "not known of these laws", ha="center", va="center", transform=axes.transAxes)
