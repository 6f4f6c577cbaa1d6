"""Pictures of sequences: of data, and of what a model draws."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zf_pyro.data.corpus import Observation
from zf_pyro.files import write_atomically

MOST_PANELS = 20
"""Sequences in a picture: its layout takes time that grows with their square."""

MOST_LINES = 8
"""Dimensions that are drawn as lines; more are drawn as a map of colours."""


def draw_sequences(sequences: Sequence[np.ndarray], observation: Observation, path: Path, title: str = "") -> None:
    """Draw sequences of bits or real numbers into a png: images as images, music as piano rolls, others over time.

    Args:
        sequences: at least one, each (n, D); the first `MOST_PANELS` are drawn.
        observation: what stands at a step.
        path: the file to write.
        title: over all of them.

    Raises:
        OSError: the file cannot be written.
    """
    sequences = sequences[:MOST_PANELS]
    columns = min(len(sequences), 10 if observation.rows else 2)
    lines = -(-len(sequences) // columns)
    size = (1.1 * columns, 1.1 * lines + 0.4) if observation.rows else (6 * columns, 1.9 * lines + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, sequence in zip(panels, sequences, strict=False):
        draw(axes, sequence, observation)
    for axes in panels[len(sequences) :]:
        axes.set_axis_off()
    save_figure(figure, path, title)


def draw(axes: Axes, sequence: np.ndarray, observation: Observation) -> None:
    """One sequence."""
    if observation.rows:
        axes.imshow(sequence.reshape(observation.rows, -1), cmap="gray_r", vmin=0, vmax=1)
        axes.set_axis_off()
        return
    axes.tick_params(labelsize="small")
    if observation.rate:
        axes.plot(np.arange(sequence.size) / observation.rate, sequence.ravel(), linewidth=0.4)
        axes.set_xlabel("seconds", fontsize="small")
        return
    if observation.law == "gaussian" and sequence.shape[1] <= MOST_LINES:
        axes.plot(sequence, linewidth=0.8)
    else:
        colours = {"cmap": "gray_r", "vmin": 0, "vmax": 1} if observation.law == "bernoulli" else {"cmap": "viridis"}
        axes.imshow(sequence.T, **colours, aspect="auto", origin="lower", interpolation="nearest")
    axes.set_xlabel(f"{observation.step}s", fontsize="small")


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
    save_figure(figure, path, title)


def save_figure(figure: Figure, path: Path, title: str = "") -> None:
    """Write a figure as a png, whole or not at all."""
    if title:
        figure.suptitle(title, fontsize="small", parse_math=False, wrap=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a character that the font lacks is drawn as a box
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))
