"""The picture of a comparison: bounds row by row, their differences from the first row's, and validation curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zf_pyro.compare.rows import Row, standard_error
from zf_pyro.metrics import read_metrics
from zf_pyro.pictures import save_figure


def plot_comparison(rows: Sequence[Row], path: Path) -> None:
    """Draw bounds and differences of the rows, seeds as points beside standard errors, and validation curves, as a png.

    Args:
        rows: of the comparison; those without runs are left out.
        path: the file to write.

    Raises:
        OSError: the file cannot be written.
        InputError: the metrics of a run cannot be read.
    """
    present = [row for row in rows if row.runs]
    sequence = present[0].runs[0].table["sequence"]
    figure = Figure(figsize=(14, max(4.0, 1.5 + 0.4 * len(present))), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    none = np.zeros_like(present[0].bounds)
    draw_bounds(left, present, none)
    left.set_title("test, importance-weighted bound", fontsize="medium")
    draw_bounds(middle, present, present[0].bounds)
    middle.set_title("its difference from the first row, paired", fontsize="medium")
    middle.set_yticklabels([])
    for axes in (left, middle):
        axes.set_xlabel(f"nats per {sequence}")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    draw_curves(right, present)
    right.set_title("validation, importance-weighted bound", fontsize="medium")
    right.set(xlabel="updates", ylabel=f"nats per {sequence}")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, path)


def draw_bounds(axes: Axes, rows: Sequence[Row], reference: np.ndarray) -> None:
    """The bound of each row less a reference, the first at the top, with its standard error; a point for each seed.

    Args:
        axes: to draw into.
        rows: with runs.
        reference: (N,) nats of each test sequence.
    """
    for place, row in enumerate(rows):
        values = row.bounds - reference
        error = standard_error(values) or 0.0
        axes.errorbar(values.mean(), place, xerr=error, fmt="s", capsize=4, color=colour(place))
        seeds = np.array(row.bounds_of_seeds) - reference.mean()
        axes.plot(seeds, np.full(len(seeds), place), "o", markersize=4, mfc="none", color="black")
    axes.set_yticks(range(len(rows)), [row.name.replace("$", r"\$") for row in rows], fontsize="small")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(alpha=0.3)


def draw_curves(axes: Axes, rows: Sequence[Row]) -> None:
    """The validation bounds of every run over updates, a colour for each row."""
    for place, row in enumerate(rows):
        for number, run in enumerate(row.runs):
            points = [
                (line["step"], line["valid_iw_bound"])
                for line in read_metrics(run.run.folder)
                if line.get("valid_iw_bound") is not None
            ]
            label = row.name.replace("$", r"\$") if number == 0 else None
            axes.plot(*zip(*points, strict=True) if points else ([], []), color=colour(place), label=label, marker=".")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def colour(place: int) -> str:
    """The colour of a row; after ten they come again."""
    return f"C{place % 10}"
