"""The wheel, made from the source distribution, works where nothing of this checkout is.

Its environment sees the packages that the tests run with, by a .pth file, so that none is fetched. Such a file adds a
folder, and does not follow the .pth files within: an editable checkout there is not seen.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import zf_pyro
from tests.blocks import ROOT
from tests.toy_runs import TINY

pytestmark = pytest.mark.slow

NOT_THE_SOURCE = shutil.ignore_patterns(".*", "runs", "build", "dist", "_build", "*.egg-info", "__pycache__")
HELD = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "zf_pyro"}
MADE = {"PKG-INFO", "setup.cfg", "zf_pyro.egg-info"}
SDIST = "from setuptools import build_meta; build_meta.build_sdist('dist')"


class Place(NamedTuple):
    """An environment with the wheel alone, and an empty folder to work in."""

    bin: Path
    folder: Path

    def run(self, name, *arguments):
        """Run a program of the environment as somebody would who has no checkout; returns what it prints."""
        return run([self.bin / name, *arguments], self.folder)


def run(command, folder):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source distribution, built from a copy: a build leaves its folders beside the source."""
    source = tmp_path_factory.mktemp("source") / "zf_pyro"
    shutil.copytree(ROOT, source, ignore=NOT_THE_SOURCE)
    run([sys.executable, "-c", SDIST], source)
    (path,) = (source / "dist").glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def place(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip"]
    run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder / "dist", sdist], folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    own = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
    (own / "installed.pth").write_text("\n".join({sysconfig.get_path(name) for name in ("purelib", "platlib")}))
    run([*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel], folder)
    (folder / "empty").mkdir()
    return Place(python.parent, folder / "empty")


def test_the_source_distribution_holds_the_package_and_what_describes_it(sdist):
    with tarfile.open(sdist) as archive:
        names = [Path(member.name).parts[1] for member in archive if len(Path(member.name).parts) > 1]
    assert {*names} == HELD | MADE
    assert sdist.stat().st_size < 1_000_000


def test_the_package_comes_from_the_wheel_and_is_typed(place):
    code = "import zf_pyro, zf_pyro.model; print(zf_pyro.__file__); print(zf_pyro.__version__)"
    path, version = place.run("python", "-c", code).split()
    package = Path(path).parent
    assert place.bin.parent in package.parents
    assert version == zf_pyro.__version__
    assert (package / "py.typed").exists()
    assert (package / "__init__.pyi").exists()


def test_its_command_lists_what_it_can_do(place):
    assert "  train " in place.run("zf-pyro", "--help")


def test_it_trains_and_writes_the_page_of_the_run(place):
    bits = np.random.default_rng(0).integers(0, 2, (12, 6, 4))
    np.savez(place.folder / "mine.npz", **{f"sequence_{i}": each for i, each in enumerate(bits)})
    place.run("zf-pyro", "train", "--dataset", "arrays", "--data", "mine.npz", "--output", "run", *TINY)
    page = (place.folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "--ground:" in page  # of page.css
    results = json.loads((place.folder / "run" / "results.json").read_text())
    assert results["steps"] == 2
