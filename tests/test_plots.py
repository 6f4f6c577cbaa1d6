"""The figures of a run, and the curves over its training."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from zf_pyro import InputError
from zf_pyro.plots import bound_figure, curves_figure, draw, kl_figure, plot_curves
from zf_pyro.scores import Scores, curve_errors, write_scores


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


def record(step, **more):
    return {"step": step, "elbo": -6.0 * step, "kl": 2.0, "length": 2.0, **more}


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_the_panels_of_a_run():
    """Each by its name and with units; the auxiliary error is the negative of a log-density, per step."""
    lines = [
        record(step, auxiliary=-8.0 * step, backward=-3.0, gradient_norm=10.0, learning_rate=0.1) for step in (1, 2)
    ]
    lines.append({"step": 2, "valid_elbo": -9.0, "valid_iw_bound": -8.0, "valid_length": 4.0, "valid_particles": 5})
    figure = curves_figure(lines, "frame")
    assert titles(figure) == [
        "Evidence lower bound",
        "KL(q || p)",
        "Auxiliary error, -log p(b | z)",
        "Backward model, log p(u | b)",
        "Norm of the gradient, before clipping",
    ]
    assert [axes.get_ylabel() for axes in figure.axes] == ["nats per frame"] * 4 + ["norm"]
    assert figure.axes[-1].get_xlabel() == "updates"
    bound, _, auxiliary, _, norm = figure.axes
    assert [line.get_ydata().tolist() for line in bound.lines] == [[-3.0, -6.0], [-2.25], [-2.0]]
    assert auxiliary.lines[0].get_ydata().tolist() == [4.0, 8.0]
    assert norm.lines[0].get_ydata().tolist() == [10.0, 10.0]  # of an update, whatever the length


def test_a_learning_rate_is_drawn_where_it_changes():
    changing = [record(1, learning_rate=0.1), record(2, learning_rate=0.05)]
    assert titles(curves_figure(changing)) == ["Evidence lower bound", "KL(q || p)", "Learning rate"]
    assert titles(curves_figure([record(1), record(2)])) == ["Evidence lower bound", "KL(q || p)"]


def test_one_particle_has_one_bound():
    lines = [{"step": 1, "valid_elbo": -9.0, "valid_iw_bound": -9.0, "valid_length": 4.0, "valid_particles": 1}]
    assert len(curves_figure(lines).axes[0].lines) == 1


def test_kl_over_time_and_by_units():
    figure = kl_figure([0.5, 0.25, None, 0.1], [40, 30, 4, 3], [0.001, None, 0.3], "frame")
    over_steps, by_unit = figure.axes
    many, few = over_steps.lines
    np.testing.assert_array_equal(many.get_ydata(), [0.5, 0.25, np.nan])
    np.testing.assert_array_equal(few.get_ydata(), [np.nan, 0.1])  # 3 is less than a tenth of 40
    np.testing.assert_array_equal(few.get_xdata(), [3, 4])
    assert (over_steps.get_xlabel(), over_steps.get_ylabel()) == ("frame t", "nats")
    assert [bar.get_height() for bar in by_unit.patches][:2] == [0.3, 0.001]
    assert (by_unit.get_xlabel(), by_unit.get_ylabel()) == ("units", "nats per frame")


def test_kl_that_is_not_known_is_said():
    figure = kl_figure(None, None, None)
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["not known of these laws"] * 2


def test_the_bound_over_particles():
    figure = bound_figure({"1": -5.0, "10": -4.0, "25": -3.5}, {1: 2.0, 10: 1.0, 25: 0.5}, -5.0, "piece", {"10": 0.1})
    top, bottom = figure.axes
    for axes, values in ((top, [-5.0, -4.0, -3.5]), (bottom, [0.0, 1.0, 1.5])):
        assert axes.lines[0].get_xdata().tolist() == [1, 10, 25]
        assert axes.lines[0].get_ydata().tolist() == values
        assert axes.get_ylabel() == "nats per piece"
        assert axes.get_xscale() == "log"
    assert bottom.get_xlabel() == "particles K"
    lower, upper = np.array([segment[:, 1] for segment in top.collections[0].get_segments()]).T
    assert (upper - lower).tolist() == [4.0, 2.0, 1.0]  # two standard errors from end to end
    assert top.texts[0].get_text() == "ELBO"


def test_a_bound_by_one_number_of_particles_alone():
    (axes,) = bound_figure({"5": -4.0}, None, None).axes
    assert "standard error" not in axes.get_title()


def scores(values, counts):
    values = np.array(values)
    of_each = {"indices": np.arange(len(values)), "lengths": np.ones(len(values), dtype=np.int64)}
    details = {"curve": values, "curve_particles": np.array(counts)}
    return Scores(**of_each, elbo=values[:, 0], iw_bound=values[:, -1], split_size=len(values), details=details)


def test_standard_errors_of_a_curve(tmp_path):
    path = tmp_path / "evaluation-5.npz"
    write_scores(path, scores([[-1.0, -1.0], [-3.0, -1.0]], [1, 5]))
    errors, gains = curve_errors(path)
    assert errors == {1: pytest.approx(1.0), 5: 0.0}  # deviation sqrt(2), over sqrt(2)
    assert gains == {1: 0.0, 5: pytest.approx(1.0)}
    write_scores(path, scores([[-1.0, -1.0]], [1, 5]))
    assert curve_errors(path) == ({}, {})


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "no .npz file"), (b"no archive", "no .npz file"), (None, "no array 'curve_particles'")],
)
def test_a_file_without_a_curve(tmp_path: Path, content, reason):
    path = tmp_path / "evaluation-5.npz"
    if content is None:
        np.savez(path, elbo=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        curve_errors(path)
    with pytest.raises(InputError, match="cannot be read"):
        curve_errors(tmp_path / "other.npz")
