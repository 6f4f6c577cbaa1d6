"""Pictures of sequences, and figures."""

from __future__ import annotations

import io

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from zf_pyro.data.corpus import Observation
from zf_pyro.pictures import MOST_PANELS, draw_sequences, png_of, sequences_figure
from zf_pyro.plots import bound_figure, curves_figure, kl_figure

MUSIC = Observation("bernoulli", 88, sequence="piece", step="frame", steps_per_beat=2)
SPEECH = Observation("gaussian", 200, step="frame", rate=16_000, mean=(0.0,), std=(1.0,))
IMAGES = Observation("bernoulli", 1, sequence="image", step="pixel", sample_steps=64, rows=8)
LINES = Observation("gaussian", 2)
MAP = Observation("gaussian", 20)
BITS = Observation("bernoulli", 5)


def bits(steps, size):
    return np.random.default_rng(steps).integers(0, 2, (steps, size)).astype(np.uint8)


def reals(steps, size):
    return np.random.default_rng(steps).normal(size=(steps, size))


KINDS = {
    "music": (MUSIC, [bits(12, 88), bits(6, 88)]),
    "speech": (SPEECH, [reals(40, 200), reals(2, 200)]),
    "images": (IMAGES, [bits(64, 1), bits(64, 1)]),
    "lines": (LINES, [reals(9, 2), reals(1, 2)]),
    "map": (MAP, [reals(9, 20), reals(5, 20)]),
    "bits": (BITS, [bits(9, 5), bits(5, 5)]),
}

FIGURES = {
    **{name: lambda kind=kind: sequences_figure(kind[1], kind[0], ["one", "two"]) for name, kind in KINDS.items()},
    "curves": lambda: curves_figure([{"step": t, "elbo": -t, "kl": 1.0, "length": 2.0} for t in range(9)]),
    "kl": lambda: kl_figure([0.1, 0.2], [3, 2], [0.1, 0.001]),
    "bound": lambda: bound_figure({"1": -3.0, "5": -2.0}, {1: 0.1, 5: 0.1}, -3.0),
}


def of_colour(png, level):
    """The pixels of a png, and how many of them are opaque and of a level of grey, 0 to 255."""
    pixels = matplotlib.image.imread(io.BytesIO(png))
    return pixels, (np.isclose(pixels, [level / 255] * 3 + [1], atol=1e-3).all(-1)).sum()


@pytest.mark.parametrize("name", FIGURES)
def test_ink_on_a_transparent_ground(name):
    pixels, black = of_colour(png_of(FIGURES[name]()), 0)
    assert (pixels[[0, -1]][..., 3] == 0).all()
    assert black > 30


def test_pixels_of_images_are_opaque():
    half = [np.repeat([0, 1], 32).astype(np.uint8)[:, None]]
    picture = png_of(sequences_figure(half, IMAGES))
    assert of_colour(picture, 0)[1] > 3_000
    assert of_colour(picture, 255)[1] > 3_000


def test_the_beginning_of_an_image_is_drawn():
    (axes,) = [axes for axes in sequences_figure([np.ones((11, 1), dtype=np.uint8)], IMAGES).axes if axes.images]
    drawn = np.asarray(axes.images[0].get_array().filled(np.nan))
    assert drawn.shape == (8, 8)
    assert (drawn.ravel()[:11] == 1).all()
    assert np.isnan(drawn.ravel()[11:]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_sequence_has_a_panel_and_its_title(kind):
    observation, sequences = KINDS[kind]
    figure = sequences_figure(sequences, observation, ["share 0.5", "$not mathematics_{"], "all of them")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels][:1] == ["share 0.5"]
    assert len(panels) == 2
    assert figure.get_suptitle() == "all of them"
    figure.canvas.draw()  # no mathematics is looked for


@pytest.mark.parametrize(
    ("kind", "end", "across", "up"),
    [
        ("music", 3.0, "seconds", ""),  # twelve frames of a quarter of a second
        ("speech", 0.5, "seconds", "amplitude, 16-bit units"),
        ("lines", 9, "steps", "value"),
        ("map", 9, "steps", "dimension"),
        ("bits", 9, "steps", "dimension"),
    ],
)
def test_axes_are_common_and_have_units(kind, end, across, up):
    observation, sequences = KINDS[kind]
    figure = sequences_figure(sequences, observation)
    first, second = figure.axes[:2]
    assert first.get_xlim() == second.get_xlim() == (0, end)
    assert first.get_ylim() == second.get_ylim()
    assert second.get_xlabel() == across
    assert figure.get_supylabel() == up


def test_a_map_of_numbers_has_one_scale_of_colours():
    figure = sequences_figure([np.zeros((3, 20)), np.full((3, 20), 7.0), np.full((2, 20), np.nan)], MAP)
    *panels, scale = figure.axes
    assert [axes.images[0].get_clim() for axes in panels] == [(0, 7)] * 3
    assert scale.get_ylabel() == "value"


def test_a_roll_names_the_keys_in_use():
    roll = np.zeros((4, 88), dtype=np.uint8)
    roll[:, [60 - 21, 72 - 21]] = 1
    (axes,) = sequences_figure([roll], MUSIC).axes
    low, high = axes.get_ylim()
    assert low < 60 < 72 < high
    assert high - low >= 24
    names = {key: axes.yaxis.get_major_formatter()(key, 0) for key in axes.get_yticks().tolist()}
    assert names == {60: "C4", 72: "C5", **({48: "C3"} if low < 48 else {}), **({84: "C6"} if high > 84 else {})}
    image = axes.images[0]
    left, right, bottom, top = image.get_extent()
    column = 60 - 21
    assert bottom + (column + 0.5) * (top - bottom) / 88 == pytest.approx(60)  # its bar is at its name
    assert (left, right) == (0, 1)


def test_silence_is_drawn():
    assert png_of(sequences_figure([np.zeros((4, 88), dtype=np.uint8)], MUSIC))


def test_a_short_waveform_is_its_frames_joined():
    (axes,) = sequences_figure([np.arange(400.0).reshape(2, 200)], SPEECH).axes
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_ydata(), np.arange(400))
    np.testing.assert_allclose(line.get_xdata(), np.arange(400) / 16_000)


@pytest.mark.parametrize("frames", [11, 14, 50])
def test_a_long_waveform_is_as_long_as_it_lasts(frames):
    (axes,) = sequences_figure([reals(frames, 200)], SPEECH).axes
    ends = axes.collections[0].get_paths()[0].vertices[:, 0]
    assert ends.max() == pytest.approx(frames * 200 / 16_000, rel=2e-3)


def test_a_long_waveform_is_drawn_as_a_band():
    sequence = np.sin(np.arange(20_000.0)).reshape(100, 200) * 1_000
    sequence[50, 7] = 9_000.0
    (axes,) = sequences_figure([sequence], SPEECH).axes
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].max() == 9_000.0  # no peak is lost
    assert corners[:, 1].min() == pytest.approx(-1_000, rel=1e-3)
    assert 0 <= corners[:, 0].min() < corners[:, 0].max() <= 20_000 / 16_000


@pytest.mark.parametrize("kind", ["speech", "lines", "map"])
def test_numbers_that_are_not_finite_leave_the_others_to_be_seen(kind, tmp_path):
    observation, sequences = KINDS[kind]
    broken = [np.where(np.abs(sequence) > 1.5, np.inf, sequence) for sequence in sequences]
    broken.append(np.full_like(sequences[0], np.nan))
    draw_sequences(broken, observation, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_holds_a_few_of_many():
    figure = sequences_figure([np.zeros((3, 2))] * 50, LINES, [str(number) for number in range(50)])
    assert len(figure.axes) == MOST_PANELS
