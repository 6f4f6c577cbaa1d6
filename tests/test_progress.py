"""What the progress bar shows."""

import math

import pytest

from zf_pyro import progress as module
from zf_pyro.progress import Lines, RunningMeans


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


@pytest.fixture
def lines(monkeypatch):
    """The lines of progress that are said, and a clock that stands still unless it is set."""
    said, clock = [], [0.0]
    monkeypatch.setattr(module, "inform", said.append)
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    return said, clock


def test_lines_come_every_half_minute_and_at_the_end(lines):
    said, clock = lines
    with Lines(1000, "Testing", "image") as shown:
        for second in range(100):
            clock[0] = float(second)
            shown.set_postfix_str(f"KL {second}")
            shown.update(10)
    assert said == [
        "Testing: 0 of 1,000 images (0%)",
        "Testing: 310 of 1,000 images (31%), 10.3 images/s, 01:06 left, KL 30",
        "Testing: 610 of 1,000 images (61%), 10.2 images/s, 00:38 left, KL 60",
        "Testing: 910 of 1,000 images (91%), 10.1 images/s, 00:08 left, KL 90",
        "Testing: 1,000 of 1,000 images (100%), 10.1 images/s, 01:39 in all, KL 99",
    ]


def test_work_that_goes_on_is_timed_by_what_is_new(lines):
    said, clock = lines
    with Lines(100, "Training", "update", initial=60) as shown:
        clock[0] = 10.0
        shown.update(20)
    assert said == ["Training: 60 of 100 updates (60%)", "Training: 80 of 100 updates (80%), 2 updates/s, 00:10 left"]


def test_what_is_soon_done_is_not_told_where_there_is_a_delay(lines):
    said, clock = lines
    with Lines(2, "Checking", "shard", delay=5) as shown:
        shown.update()
        shown.update()
    assert not said
    with Lines(2, "Checking", "shard", delay=5) as shown:
        shown.update()
        clock[0] = 6.0
        shown.update()
    assert said == ["Checking: 2 of 2 shards (100%), 0.333 shards/s, 00:06 in all"]


def test_nothing_to_do_is_a_line(lines):
    with Lines(0, "Scoring", "row"):
        pass
    assert lines[0] == ["Scoring: 0 of 0 rows"]
