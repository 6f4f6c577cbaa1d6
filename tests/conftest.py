from __future__ import annotations

import os

import pytest
import torch

from tests.chromium import browser
from tests.toy_runs import finished, no_ink, reviews, run_py, shelved, zf

__all__ = ["browser", "finished", "no_ink", "reviews", "run_py", "shelved", "zf"]

# The tests' tensors are small, and a second thread costs more than it saves, above all where another process runs:
# then a training of two threads takes many times as long. The variable is for the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """An empty cache folder for every test: none reads or fills the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ZF_PYRO_CACHE", str(folder))
    return folder
