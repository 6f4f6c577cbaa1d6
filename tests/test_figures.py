"""The pictures of README and docs are those that the scripts beside them draw, and legible on any ground."""

import runpy

import matplotlib
import pytest
from matplotlib.colors import to_rgb

from tests.blocks import ROOT

FIGURES = ROOT / "docs" / "figures"
GROUNDS = ("#ffffff", "#0d1117")
"""A page in the light, and the darkest of those in the dark."""


@pytest.fixture(scope="module")
def model():
    """What docs/figures/model.py defines."""
    return runpy.run_path(str(FIGURES / "model.py"))


def luminance(colour):
    shares = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in to_rgb(colour)]
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), shares, strict=True))


def contrast(first, second):
    """The ratio that WCAG 2.1 asks to be 3 for lines and large words, and 7 at best for others."""
    low, high = sorted(luminance(each) for each in (first, second))
    return (high + 0.05) / (low + 0.05)


def test_the_picture_of_the_model_is_what_its_script_draws(model, tmp_path):
    kept = (FIGURES / "model.svg").read_text(encoding="utf-8")
    if f"Matplotlib v{matplotlib.__version__}," not in kept:
        pytest.skip("drawn by another version of Matplotlib")
    model["draw"](tmp_path / "model.svg")
    assert (tmp_path / "model.svg").read_text(encoding="utf-8") == kept


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("name", ["GREY", "BLUE", "ORANGE"])
def test_its_lines_and_large_words_stand_out_on_any_ground(name, ground, model):
    assert contrast(model[name], ground) >= 4


def test_its_nodes_can_be_read(model):
    assert all(contrast(model["INK"], fill) >= 7 for fill in model["FILLS"].values())


@pytest.mark.parametrize("name", ["kl.svg", "model.svg", "report.png"])
def test_pictures_are_small(name):
    assert (FIGURES / name).stat().st_size < 300_000
