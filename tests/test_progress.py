"""What the progress bar shows."""

import math

import pytest

from zf_pyro.progress import RunningMeans


def test_means_are_per_step_and_forget():
    means = RunningMeans(["elbo", "auxiliary"])
    for _ in range(5):
        means.add({"elbo": -20.0}, 10)
        means.add({"elbo": -40.0}, 20)
    assert means["elbo"] == pytest.approx(-2.0)
    assert means["auxiliary"] == 0
    means.add({"elbo": math.nan}, 10)
    assert means["elbo"] == pytest.approx(-2.0)
    for _ in range(1000):
        means.add({"elbo": -10.0}, 10)
    assert means["elbo"] == pytest.approx(-1.0, abs=1e-6)
