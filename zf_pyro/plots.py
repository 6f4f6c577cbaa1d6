"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zf_pyro.pictures import save_figure

PANELS = {
    "evidence lower bound (gamma = 1)": ("elbo", "valid_elbo", "valid_iw_bound"),
    "KL(q || p)": ("kl", "valid_kl"),
    "auxiliary log p(b | z)": ("auxiliary",),
    "backward language model": ("backward",),
}
LABELS = {
    "valid_elbo": "validation, ELBO",
    "valid_iw_bound": "validation, importance-weighted bound",
    "valid_kl": "validation",
}


def plot_curves(records: Iterable[dict[str, Any]], path: Path) -> None:
    """Draw the metrics of a run, in nats per step over updates, into a png.

    Per step, because a batch holds sequences of similar lengths, and lengths differ between batches.

    Args:
        records: the lines of metrics.jsonl.
        path: the file to write.
    """
    lines = list(records)
    if all(line.get("valid_particles") in (None, 1) for line in lines):  # then the two bounds are one
        lines = [{name: value for name, value in line.items() if name != "valid_iw_bound"} for line in lines]
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for name in names:
            length = "valid_length" if name.startswith("valid_") else "length"
            draw(axes, name, [(r["step"], r[name], r[length]) for r in lines if r.get(name) is not None])
        axes.set(title=title, xlabel="updates", ylabel="nats per step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
        else:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "weight 0: not computed", ha="center", va="center", transform=axes.transAxes)
    save_figure(figure, path)


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
    window = np.ones(width)
    mean = np.convolve(values, window, mode="valid") / np.convolve(lengths, window, mode="valid")
    label = "training" if width == 1 else f"training, mean of {width} updates"
    axes.plot(updates[width - 1 :], mean, linewidth=1.2, label=label)
