"""Pictures of sequences: of data, and of what a model draws; and figures as png, for light pages and for dark ones."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.figure import Figure

from zf_pyro.data.corpus import Observation
from zf_pyro.data.midi import LOWEST
from zf_pyro.files import write_atomically
from zf_pyro.media.sound import SECONDS_PER_BEAT

MOST_PANELS = 20
"""Sequences in a picture: its layout takes time that grows with their square."""

MOST_LINES = 8
"""Dimensions that are drawn as lines; more are drawn as a map of colours."""

WIDTH = 4.8
"""Inches of a figure: at 360 pixels of a page, a telephone's, its letters of 10 points are 10 pixels high."""

IMAGES_ABREAST = 6
DPI = 160
OCTAVE = 12

INK, FAINT = "#e8e8e8", "#707070"
DARK: dict[Any, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("grid.color", "legend.edgecolor"), FAINT),
    "axes.prop_cycle": cycler(color=["#7cb7ff", "#ffb86b", "#7ee2a8", "#ff9a9a", "#cbb2ff", "#e0c097", "#f4a6d7"]),
}
"""Light ink on nothing, for dark pages."""


def themed(dark: bool) -> AbstractContextManager[None]:
    """Inside, figures are made and saved in the colours of a light page or of a dark one."""
    return matplotlib.rc_context(DARK if dark else {})


def png_of(make: Callable[[], Figure], *, dark: bool = False) -> bytes:
    """A figure as png: dark ink on white, or light ink on a transparent ground.

    Args:
        make: makes the figure; it is called in the colours of the page.
        dark: whether the page is dark.
    """
    file = io.BytesIO()
    with themed(dark):
        write_png(make(), file)
    return file.getvalue()


def sequences_figure(
    sequences: Sequence[np.ndarray], observation: Observation, titles: Sequence[str] = (), title: str = ""
) -> Figure:
    """Sequences of bits or real numbers: images as images, music as piano rolls, sound and others over time.

    Args:
        sequences: at least one, each (n, D), real numbers in the units of the data; the first `MOST_PANELS` are drawn.
        observation: what stands at a step.
        titles: one over each of them.
        title: over all of them.
    """
    sequences = sequences[:MOST_PANELS]
    columns = min(len(sequences), IMAGES_ABREAST) if observation.rows else 1
    lines = -(-len(sequences) // columns)
    height = (0.8 if observation.rows else 1.3) + 0.2 * bool(titles)
    width = WIDTH * columns / IMAGES_ABREAST if observation.rows else WIDTH
    figure = Figure(figsize=(max(width, 2.0), height * lines + 0.3), layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, sequence in zip(panels, sequences, strict=False):
        draw(axes, sequence, observation)
    for axes, each in zip(panels, titles, strict=False):
        axes.set_title(each, fontsize=9, parse_math=False)
    for axes in panels[len(sequences) :]:
        axes.set_axis_off()
    if title:
        figure.suptitle(title, fontsize="small", parse_math=False, wrap=True)
    return figure


def draw_sequences(
    sequences: Sequence[np.ndarray],
    observation: Observation,
    path: Path,
    title: str = "",
    titles: Sequence[str] = (),
) -> None:
    """Draw sequences into a png, as `sequences_figure` does.

    Raises:
        OSError: the file cannot be written.
    """
    save_figure(sequences_figure(sequences, observation, titles, title), path)


def draw(axes: Axes, sequence: np.ndarray, observation: Observation) -> None:
    """One sequence."""
    if observation.rows:
        axes.imshow(sequence.reshape(observation.rows, -1), cmap="gray_r", vmin=0, vmax=1)
        axes.set_axis_off()
        return
    axes.tick_params(labelsize=9)
    if observation.rate:
        axes.plot(np.arange(sequence.size) / observation.rate, sequence.ravel(), linewidth=0.4)
        axes.set_xlabel("seconds")
        return
    if observation.steps_per_beat:
        draw_roll(axes, sequence, observation.steps_per_beat)
        return
    if observation.law == "gaussian" and sequence.shape[1] <= MOST_LINES:
        axes.plot(sequence, linewidth=0.8)
    else:
        colours = {"cmap": "gray_r", "vmin": 0, "vmax": 1} if observation.law == "bernoulli" else {"cmap": "viridis"}
        axes.imshow(sequence.T, **colours, aspect="auto", origin="lower", interpolation="nearest")
    axes.set_xlabel(f"{observation.step}s")


def draw_roll(axes: Axes, roll: np.ndarray, steps_per_beat: int) -> None:
    """A piano roll (T, 88) over seconds at 120 beats a minute, octaves by the names of their lowest keys."""
    ink = ListedColormap([(0, 0, 0, 0), to_rgba("C0")])
    seconds = len(roll) * SECONDS_PER_BEAT / steps_per_beat
    extent = (0, seconds, LOWEST - 0.5, LOWEST + roll.shape[1] - 0.5)
    axes.imshow(roll.T, cmap=ink, vmin=0, vmax=1, aspect="auto", origin="lower", interpolation="nearest", extent=extent)
    keys = range(2 * OCTAVE, LOWEST + roll.shape[1], OCTAVE)
    axes.set_yticks(keys, [f"C{key // OCTAVE - 1}" for key in keys])
    axes.grid(axis="y", alpha=0.4, linewidth=0.5)
    axes.set_xlabel("seconds")


def draw_text(lines: Sequence[str], path: Path, title: str = "") -> None:
    """Write lines of text into a png.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(10, 0.3 * len(lines) + 0.6))
    for number, line in enumerate(lines):
        shown = line if len(line) <= 120 else f"{line[:117]}..."
        height = 1 - (number + 1) / (len(lines) + 1)
        figure.text(0.02, height, shown, fontsize=9, va="center", parse_math=False)
    if title:
        figure.suptitle(title, fontsize="small", parse_math=False, wrap=True)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a png, whole or not at all."""
    write_atomically(path, lambda file: write_png(figure, file))


def write_png(figure: Figure, file: BinaryIO) -> None:
    """Write a figure into an open file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a character that the font lacks is drawn as a box
        figure.savefig(file, format="png", dpi=DPI)
