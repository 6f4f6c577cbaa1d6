"""What README and docs show works, and names what is there."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pyro
import pytest

from tests.toy_runs import toy_documents
from zf_pyro import runs
from zf_pyro.cli import cli
from zf_pyro.config import ModelConfig
from zf_pyro.fields import override
from zf_pyro.options import requested
from zf_pyro.parts import FAMILIES
from zf_pyro.presets import preset
from zf_pyro.run_commands import train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def test_two_commands_set_everything_up():
    commands = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("python3 -m venv ")]
    assert len(commands) == 2
    assert commands[0].endswith("run.py --dataset imdb")
    assert commands[1].endswith("-m pytest -n 2 --dist loadfile")


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code, capsys):
    pyro.clear_param_store()
    exec(compile(code, "README.md", "exec"), {})
    pyro.clear_param_store()
    assert "nats per sentence, perplexity at most" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "number"), [("model", 3), ("generation", 1)])
def test_the_code_of_a_page_on_a_run_runs(name, number, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    finished.rename(tmp_path / "runs" / "plain")
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(examples) == number
    for code in examples:
        exec(compile(code, f"{name}.md", "exec"), {})
        pyro.clear_param_store()


def test_the_code_of_the_data_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    own, text = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(own, "data.md", "exec"), {})
    (tmp_path / "aclImdb").write_text("\n".join(toy_documents(20)))
    exec(compile(text, "data.md", "exec"), {})


def commands():
    pages = [README, *(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))]
    lines = [line for page in pages for block in blocks("bash", page) for line in block.splitlines()]
    return [shlex.split(line) for line in lines if not line.startswith(("python3 -m venv ", "#"))]


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


RUNS_OF_PARTS = [line for block in blocks("bash", EXTENDING) for line in block.splitlines() if "run.py" in line]


@pytest.mark.parametrize("line", RUNS_OF_PARTS)
def test_command_examples_name_parts_that_fit(line):
    options = train.make_context("command", shlex.split(line)[2:]).params
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
    for name in runs.FILES:
        assert f"`{name}`" in README


def test_the_form_of_the_results_is_described():
    (form,) = (json.loads(block) for block in blocks("json"))
    described = README.split("### results.json")[1]
    beyond = ["bits_per_character", "elbo_original", "iw_bound_original"]
    beyond += ["elbo_original_per_step", "iw_bound_original_per_step"]
    beyond += ["fivo_bound", "fivo_bound_se", "fivo_bound_per_step", "resamplings", "perplexity_fivo"]
    beyond += ["fivo_bound_original", "fivo_bound_original_per_step"]
    for name in [*list(form)[4:9], *form["test"], *beyond]:
        assert re.search(rf"^\|.*`{name}`.*\|.*\|$", described, flags=re.MULTILINE), name


def test_relative_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


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
