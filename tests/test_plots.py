"""The curves of a run."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from zf_pyro.plots import draw, plot_curves


def test_curves_are_per_step_and_smoothed_over_steps():
    axes = Figure().subplots()
    points = [(t, -3.0 * length, float(length)) for t, length in enumerate(np.tile([2, 8], 100), 1)]
    draw(axes, "elbo", points)
    (line,) = axes.lines
    assert line.get_label() == "training, mean of 4 updates"
    assert line.get_xdata()[0] == 4
    assert line.get_ydata() == pytest.approx(-3.0)


def test_validations_are_points():
    axes = Figure().subplots()
    draw(axes, "valid_elbo", [(10, -20.0, 10.0), (20, -15.0, 10.0)])
    assert axes.lines[0].get_ydata().tolist() == [-2.0, -1.5]
    assert axes.lines[0].get_marker() == "o"


def test_a_run_without_some_terms_is_drawn(tmp_path):
    plot_curves([{"step": 1, "reconstruction": -3.0, "length": 2.0, "elbo": None}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
