"""The picture of how cost grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from zf_pyro.pictures import save_figure

PANELS = {"steps": "T, a training step at pixels' sizes", "particles": "K, importance weights at text's sizes"}


def draw(figures: dict[str, Any], picture: Path) -> None:
    """Seconds and MiB over T and over K; on logarithmic axes a line of slope one is linear cost.

    Raises:
        OSError: the picture cannot be written.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axis, (name, label) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        points = figures[name]
        over = list(points)
        other = axis.twinx()
        lines = axis.loglog(over, [point["seconds"] for point in points.values()], "o-", label="seconds")
        lines += other.loglog(over, [point["memory_mib"] for point in points.values()], "s--C1", label="MiB")
        if name == "steps":
            cut = [point["memory_mib"] for point in figures["segments"].values()]
            lines += other.loglog(over, cut, "^:C2", label="MiB in segments")
        axis.set(xlabel=label, ylabel="seconds", xticks=over, xticklabels=over)
        axis.minorticks_off()
        other.set_ylabel("peak memory, MiB")
        other.set_ylim(10, 10_000)
        axis.legend(handles=lines)
    save_figure(figure, picture)
