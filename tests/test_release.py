"""The version stands in one place, and what is written for a release agrees with it."""

import re
import tomllib

import pytest

import zf_pyro
from tests.blocks import ROOT
from zf_pyro.versions import packages


def found(file, pattern):
    """What the first match of a pattern holds."""
    match = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert match, f"{file}: no {pattern}"
    return match.group(1)


@pytest.mark.parametrize(("file", "pattern"), [("CITATION.cff", r"^version: (\S+)$"), ("CHANGELOG.md", r"^## (\S+)")])
def test_what_is_written_for_a_release_names_the_version(file, pattern):
    assert found(file, pattern) == zf_pyro.__version__


def test_the_package_is_built_with_the_version_of_its_source():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in table["project"]
    assert table["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "zf_pyro.__version__"}


def test_runs_and_the_command_tell_the_version_of_the_code(monkeypatch, zf):
    """Not the one that pip noted: a checkout may have gone on since it was installed."""
    monkeypatch.setattr("zf_pyro.versions.version", lambda name: "0")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0")
    assert packages()["zf_pyro"] == zf_pyro.__version__
    status, out, _ = zf("--version")
    assert status == 0
    assert out.split()[-1] == zf_pyro.__version__


def test_the_citation_has_the_paper_and_the_licence():
    assert found("CITATION.cff", r"^license: (.+)$") == found("LICENSE", r"^(\w+) License$")
    assert found("CITATION.cff", r'^    url: "(.+)"$') in (ROOT / "docs" / "differences.md").read_text(encoding="utf-8")
