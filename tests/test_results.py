"""The tables of README and docs/results.md are those of the comparisons that stand in experiments/results."""

import importlib.util
import re

import pytest

from tests.blocks import ROOT

specification = importlib.util.spec_from_file_location("results", ROOT / "experiments" / "results.py")
results = importlib.util.module_from_spec(specification)
specification.loader.exec_module(results)


@pytest.mark.parametrize("name", ["README.md", "docs/results.md"])
def test_no_figure_is_typed_by_hand(name):
    page = (ROOT / name).read_text()
    assert results.filled(page, results.SHORT.get(name, ())) == page
    assert re.search(r"<!-- results of [a-z-]+ -->\n\n.* test .*\n\n\| run ", page)
    assert page.count("<!-- results of ") == page.count("<!-- end -->")


def test_every_comparison_that_is_kept_is_shown():
    page = (ROOT / "docs" / "results.md").read_text()
    for path in results.KEPT.glob("*.csv"):
        assert f"<!-- results of {path.stem} -->" in page
        assert (ROOT / "experiments" / f"{path.stem}.toml").exists()
