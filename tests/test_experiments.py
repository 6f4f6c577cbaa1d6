"""Every sweep of experiments/ runs: two updates a row, on small data of its kind."""

import csv
import math
import tomllib

import pytest

from tests.blocks import ROOT
from tests.reader import furnish

SWEEPS = sorted((ROOT / "experiments").glob("*.toml"))
DATA = {
    "blizzard": "blizzard",
    "digits": None,
    "imdb": "aclImdb",
    "jsb": "jsb_raw_batchsize16_seqlen100.npz",
    "nottingham": "jsb_raw_batchsize16_seqlen100.npz",
    "timit": "TIMIT",
}
LONG = ("jsb", "jsb-tuning", "jsb-families-tuning", "nottingham")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("experiments")
    furnish(made)
    return made


@pytest.mark.parametrize(
    "sweep",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else (), id=path.stem) for path in SWEEPS],
)
def test_a_sweep_runs_from_its_file(sweep, folder, tmp_path, zf, no_ink):
    table = tomllib.loads(sweep.read_text(encoding="utf-8"))
    named = DATA[table["dataset"]]
    data = ["--data", folder / named] if named else []
    options = ("--smoke", "--output", tmp_path / "made", "--device", "cpu")
    status, _, error = zf("compare", "--sweep", sweep, *data, *options)
    assert status == 0, error
    with (tmp_path / "made" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [run["name"] for run in table["run"]]
    bounds = [float(row["iw_bound"]) for row in rows]
    assert all(math.isfinite(bound) for bound in bounds)
    assert table["dataset"] in ("blizzard", "timit") or all(bound < 0 for bound in bounds)
