"""What README and docs show names what is there; tests/test_docs.py runs it."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.blocks import PAGES, ROOT, SET_UP, blocks
from zf_pyro import runs
from zf_pyro.cli import cli
from zf_pyro.config import ModelConfig
from zf_pyro.fields import override
from zf_pyro.options import requested
from zf_pyro.parts import FAMILIES
from zf_pyro.presets import preset
from zf_pyro.run_commands import train

RUN_FOLDER = "docs/run-folder.md"


def test_two_commands_set_everything_up():
    lines = [line for block in blocks("README.md", "bash") for line in block.code.splitlines()]
    commands = [line for line in lines if line.startswith(SET_UP)]
    assert len(commands) == 2
    assert commands[0].endswith("run.py --dataset imdb")
    assert commands[1].endswith("-m pytest -n 2 --dist loadfile")


def commands():
    found = [words for page in PAGES for block in blocks(page, "bash") for words in block.commands]
    return [words for words in found if Path(words[0]).name == "zf-pyro" or words[1:2] == ["run.py"]]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_command_examples_name_real_options(words):
    program, *arguments = words
    if program.endswith("zf-pyro"):
        name, *arguments = arguments
        command = cli.get_command(None, name)
    else:
        assert arguments.pop(0) == "run.py"
        command = train
    with command.make_context("command", arguments):  # -v and -q hold until it is closed
        pass


EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


RUNS_OF_PARTS = [
    words for block in blocks("docs/extending.md", "bash") for words in block.commands if "run.py" in words
]


@pytest.mark.parametrize("words", RUNS_OF_PARTS, ids=" ".join)
def test_command_examples_name_parts_that_fit(words):
    options = train.make_context("command", words[2:]).params
    config = override(preset(options["dataset"], "quick"), requested(options))
    assert config.model.parts


@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_of_families_names_their_own_parts(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*", EXTENDING, flags=re.MULTILINE)
    own = row.split("|")[-2]
    family = FAMILIES[name]
    parts = [family.prior, family.guide, *family.transitions[:1]]
    assert re.findall(r"`([^`]+)`", own) == [part for part in parts if part]


def test_every_file_of_a_run_is_described():
    described = PAGES[RUN_FOLDER].read_text(encoding="utf-8")
    for name in runs.FILES:
        assert f"`{name}`" in described


def test_the_form_of_the_results_is_described():
    (form,) = (json.loads(block.code) for block in blocks(RUN_FOLDER, "json"))
    described = PAGES[RUN_FOLDER].read_text(encoding="utf-8").split("## results.json")[1]
    beyond = ["bits_per_character", "elbo_original", "iw_bound_original"]
    beyond += ["elbo_original_per_step", "iw_bound_original_per_step"]
    beyond += ["fivo_bound", "fivo_bound_se", "fivo_bound_per_step", "resamplings", "perplexity_fivo"]
    beyond += ["fivo_bound_original", "fivo_bound_original_per_step"]
    for name in [*list(form)[4:9], *form["test"], *beyond]:
        assert re.search(rf"^\|.*`{name}`.*\|.*\|$", described, flags=re.MULTILINE), name


def test_relative_links_lead_somewhere():
    for name, page in PAGES.items():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{name}: {target}"


def test_every_fault_names_its_tests():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| what happens")]
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row.split("|")[-2])
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test


def test_every_module_is_on_the_map():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for module in (ROOT / "zf_pyro").rglob("*.py"):
        if module.name != "__init__.py" and module.parent.name != "presets":
            assert module.name in page, module


def test_every_option_of_the_numerics_is_documented():
    page = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    for option in fields(ModelConfig):
        if not option.name.endswith("_size"):
            assert f"`{option.name}`" in page, option.name
