"""The tables of README and docs/results.md are those of the comparisons that stand in experiments/results."""

import runpy
from types import SimpleNamespace

import numpy as np
import pytest

from tests.blocks import ROOT
from tests.test_compare import outcome
from zf_pyro.compare.report import all_figures, as_csv
from zf_pyro.compare.rows import Row

results = SimpleNamespace(**runpy.run_path(str(ROOT / "experiments" / "results.py")))


@pytest.mark.parametrize("name", ["README.md", "docs/results.md"])
def test_no_figure_is_typed_by_hand(name):
    page = (ROOT / name).read_text(encoding="utf-8")
    assert results.filled(page, results.SHORT.get(name, ())) == page
    assert page.count("<!-- results of ") == page.count("<!-- end -->") > 0


def test_every_comparison_that_is_kept_is_shown():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for path in results.KEPT.glob("*.csv"):
        assert f"<!-- results of {path.stem} -->" in page
        assert (ROOT / "experiments" / f"{path.stem}.toml").exists()


def test_a_table_has_the_figures_of_its_comparison():
    """Two sequences of 1 and 3 steps, of two seeds and of one that failed beside it."""
    of = {"lengths": (1, 3), "kl": 1.0}
    seeds = [outcome(0, (-2.0, -6.0), fivo=(-1.0, -4.0), **of), outcome(1, (-4.0, -8.0), fivo=(-3.0, -4.0), **of)]
    first = Row("a", seeds)
    second = Row("b", [outcome(0, (-1.0, -5.0), **of)], failed=[1])
    names, *lines = as_csv(all_figures([first, second])).splitlines()
    read = [dict(zip(names.split(","), line.split(","), strict=True)) for line in lines]
    assert results.table(read, "frame") == [
        "| run | seeds | IW bound | per frame | FIVO | FIVO per frame | ELBO | KL per frame | spread | difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| a | 0, 1 | -5.00 +- 2.00 | -2.500 | -3.00 +- 1.00 | -1.500 | -5.00 | 0.500 | 1.41 | - |",
        "| b | 0; failed: 1 | -3.00 +- 2.00 | -1.500 | - | - | -3.00 | 0.500 | - | +2.00 +- 0.00 |",
    ]
    assert np.isclose(first.spread, 2**0.5)
    short = results.table(read, "frame", ("run", "FIVO per"))
    assert short[2:] == ["| a | -1.500 |", "| b | - |"]
