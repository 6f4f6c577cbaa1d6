"""The picture of a comparison: bounds row by row, and the validation of every run."""

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
    """Draw the bounds of the rows, with seeds as points and standard errors, and the validation curves, into a png.

    Args:
        rows: of the comparison; those without runs are left out.
        path: the file to write.

    Raises:
        OSError: the file cannot be written.
        InputError: the metrics of a run cannot be read.
    """
    present = [row for row in rows if row.runs]
    sequence = present[0].runs[0].table["sequence"]
    figure = Figure(figsize=(12, max(4.0, 1.5 + 0.4 * len(present))), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_bounds(left, present)
    left.set(title="test, importance-weighted bound", xlabel=f"nats per {sequence}")
    draw_curves(right, present)
    right.set(title="validation, importance-weighted bound", xlabel="updates", ylabel=f"nats per {sequence}")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, path)


def draw_bounds(axes: Axes, rows: Sequence[Row]) -> None:
    """The bound of each row, the first at the top, with its standard error over sequences; a point for each seed."""
    for place, row in enumerate(rows):
        error = standard_error(row.bounds) or 0.0
        axes.errorbar(row.bound, place, xerr=error, fmt="s", capsize=4, color=colour(place))
        seeds = row.bounds_of_seeds
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
