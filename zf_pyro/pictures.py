"""Pictures of sequences: of data, and of what a model draws; and figures as png."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
OCTAVE, MIDDLE_C = 12, 60
BANDS = 1_000
"""Of a waveform, each the width of a pixel or so."""
LETTERS = 60
"""Of a title in a line, over the whole width."""

FAINT, BEYOND = "#707070", "#80808040"


def png_of(figure: Figure) -> bytes:
    """A figure as png, on a transparent ground."""
    file = io.BytesIO()
    write_png(figure, file, transparent=True)
    return file.getvalue()


def sequences_figure(
    sequences: Sequence[np.ndarray], observation: Observation, titles: Sequence[str] = (), title: str = ""
) -> Figure:
    """Sequences of bits or real numbers: images side by side, others one below the other on common axes.

    Args:
        sequences: at least one, each (n, D), real numbers in the units of the data; the first `MOST_PANELS` are drawn.
        observation: what stands at a step.
        titles: one over each of them, or none.
        title: over all of them.
    """
    shown = sequences[:MOST_PANELS]
    columns = IMAGES_ABREAST if observation.rows else 1
    lines = -(-len(shown) // columns)
    height = (0.8 if observation.rows else 1.2) + 0.2 * bool(titles)
    more = 0.3 * bool(title) + 0.5 * (not observation.rows)
    figure = Figure(figsize=(WIDTH, height * lines + more), layout="constrained")
    stacked = not observation.rows
    panels = list(figure.subplots(lines, columns, squeeze=False, sharex=stacked, sharey=stacked).flat)
    for axes, sequence in zip(panels, shown, strict=False):
        draw(axes, sequence, observation)
    for axes, each in zip(panels, titles, strict=False):
        axes.set_title(textwrap.fill(each, LETTERS // columns), fontsize=9, parse_math=False)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    if not observation.rows:
        align(figure, panels, shown, observation)
    if title:
        figure.suptitle(textwrap.fill(title, LETTERS), fontsize="small", parse_math=False)
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
    """One sequence: an image as such, bits and many numbers as a map, music as a piano roll, few numbers as lines."""
    axes.tick_params(labelsize=9)
    if observation.rows:
        axes.imshow(image_of(sequence, observation), cmap="gray_r", vmin=0, vmax=1)
        axes.set_facecolor(BEYOND)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=FAINT, linewidth=0.5)
        return
    end = duration(sequence, observation)
    if observation.rate:
        draw_waveform(axes, sequence.ravel(), observation.rate)
    elif observation.law == "gaussian" and sequence.shape[1] <= MOST_LINES:
        marker = "o" if len(sequence) == 1 else None
        axes.plot(np.arange(len(sequence)) + 0.5, sequence, linewidth=0.8, marker=marker)
    else:
        first = LOWEST if observation.steps_per_beat else 1
        extent = (0, end, first - 0.5, first + sequence.shape[1] - 0.5)
        kind: dict[str, Any] = {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "extent": extent}
        axes.imshow(sequence.T, **kind, **colours(observation))
        axes.set_facecolor("none" if observation.steps_per_beat else BEYOND)


def image_of(sequence: np.ndarray, observation: Observation) -> np.ndarray:
    """The pixels (n, 1) of an image line by line, NaN where it has more than n."""
    pixels = np.full(max(len(sequence), observation.sample_steps), np.nan)
    pixels[: len(sequence)] = sequence.ravel()
    return pixels.reshape(observation.rows, -1)


def draw_waveform(axes: Axes, samples: np.ndarray, rate: int) -> None:
    """Samples over seconds: as a line, or where there are many as the band between least and greatest."""
    seconds = np.arange(len(samples)) / rate
    if len(samples) <= 2 * BANDS:
        axes.plot(seconds, samples, linewidth=0.6)
        return
    parts = np.array_split(samples, BANDS)
    least, greatest = (np.array([bound(part) for part in parts]) for bound in (np.min, np.max))
    starts = [part[0] for part in np.array_split(seconds, BANDS)]
    axes.fill_between(starts, least, greatest, linewidth=0.6, color="C0")


def colours(observation: Observation) -> dict[str, Any]:
    """How a map is coloured: notes are ink on nothing, other bits black on white."""
    if observation.law == "gaussian":
        return {"cmap": "viridis"}
    notes = ListedColormap([(0, 0, 0, 0), to_rgba("C0")])
    return {"cmap": notes if observation.steps_per_beat else "gray_r", "vmin": 0, "vmax": 1}


def duration(sequence: np.ndarray, observation: Observation) -> float:
    """How long a sequence is on its axis: seconds of sound and of music at 120 beats a minute, else steps."""
    if observation.rate:
        return sequence.size / observation.rate
    if observation.steps_per_beat:
        return len(sequence) * SECONDS_PER_BEAT / observation.steps_per_beat
    return len(sequence)


def align(figure: Figure, panels: Sequence[Axes], sequences: Sequence[np.ndarray], observation: Observation) -> None:
    """Give panels one below the other, which share their axes, limits, colours and labels."""
    panels[-1].set_xlim(0, max(duration(sequence, observation) for sequence in sequences) or 1)
    panels[-1].set_xlabel("seconds" if observation.rate or observation.steps_per_beat else f"{observation.step}s")
    if observation.steps_per_beat:
        name_keys(panels[0], np.any([sequence.any(0) for sequence in sequences], axis=0))
        for axes in panels:
            axes.grid(axis="y", alpha=0.4, linewidth=0.6)
    elif maps := [image for axes in panels for image in axes.images]:
        figure.supylabel("dimension", fontsize=10)
        panels[0].yaxis.set_major_locator(MaxNLocator(4, integer=True))
        if observation.law == "gaussian":
            values = np.concatenate([sequence.ravel() for sequence in sequences])
            scale = Normalize()
            scale.autoscale_None(np.ma.masked_invalid(values))
            for image in maps:
                image.set_norm(scale)
            figure.colorbar(maps[0], ax=panels, label="value", aspect=40)
    else:
        figure.supylabel("amplitude, 16-bit units" if observation.rate else "value", fontsize=10)


def name_keys(axes: Axes, used: np.ndarray) -> None:
    """Cut piano rolls to the keys in use, (88,) booleans, and two octaves at least; name every C."""
    keys = LOWEST + np.flatnonzero(used)
    low, high = (keys[0], keys[-1]) if len(keys) else (MIDDLE_C, MIDDLE_C)
    missing = max(0, 2 * OCTAVE - (high - low)) / 2
    axes.set_ylim(low - 1 - missing, high + 1 + missing)
    named = np.arange(2 * OCTAVE, LOWEST + len(used), OCTAVE)
    axes.set_yticks(named[(named > low - 1 - missing) & (named < high + 1 + missing)])
    axes.yaxis.set_major_formatter(lambda key, place: f"C{int(key) // OCTAVE - 1}")


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


def write_png(figure: Figure, file: BinaryIO, *, transparent: bool = False) -> None:
    """Write a figure into an open file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a character that the font lacks is drawn as a box
        figure.savefig(file, format="png", dpi=DPI, transparent=transparent)
