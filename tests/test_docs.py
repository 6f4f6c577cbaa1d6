"""Every block of README and docs is run, page by page as a reader would, or says in its first line why it is not.

A page has a folder of its own, with small data under the names that the pages use. Python shares one namespace,
commands are those of this checkout, and both are shortened: commands by `tests.reader.shortened`, Python where a line
says so.
"""

import shutil
import sys
from pathlib import Path

import click
import pyro
import pytest

from tests.blocks import EVERY, PAGES, ROOT, RUN, SET_UP, SHOWN, blocks
from tests.reader import furnish, short_sweep, shortened
from tests.toy_runs import call, not_drawn
from zf_pyro.cli import cli
from zf_pyro.run_commands import train

CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
TUTORIALS = {page for page in PAGES if "tutorials/" in page}
LONG = {"docs/command-line.md", "docs/compare.md", "docs/report.md", "docs/start.md", *TUTORIALS}


def runnable(page):
    return [block for block in blocks(page, *RUN) if block.reason is None]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page):
    for block in blocks(page, *EVERY):
        assert block.language in (*RUN, *SHOWN), f"{page}, line {block.line}: a block without a language"


def test_every_page_sets_up_as_the_readme_does():
    own = [line for line in PAGES["README.md"].read_text(encoding="utf-8").splitlines() if line.startswith(SET_UP)]
    for page in PAGES:
        for block in blocks(page, "bash"):
            lines = [line for line in block.code.splitlines() if line.startswith(SET_UP) and block.reason is None]
            assert all(any(line in each for each in own) for line in lines), f"{page}, line {block.line}"


def program(words):
    """The command that is called and its arguments; None for one that .ci/run itself runs."""
    if f"\n{' '.join(words)}\n" in CI:
        return None
    if Path(words[0]).name == "torchrun":  # by one process here, by two in tests/test_torchrun.py
        words = [".venv/bin/python", *words[words.index("run.py") :]]
    name, *arguments = words
    if Path(name).name == "zf-pyro":
        command = cli.get_command(click.Context(cli), arguments[0])
        assert command is not None, words
        return command, shortened(arguments[0], arguments[1:])
    assert (Path(name).name, arguments[0]) == ("python", "run.py"), f"neither run here nor by .ci/run: {words}"
    return train, shortened("train", arguments[1:])


def named(arguments, option):
    """The path that an option names, if it is among the arguments."""
    return [Path(arguments[arguments.index(option) + 1])] if option in arguments else []


def follow(words, monkeypatch):
    """Run a command. What it is to write may be there already, and the run that it is to resume has been finished."""
    found = program(words)
    if found is None:
        return
    command, arguments = found
    for folder in named(arguments, "--output"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in named(arguments, "--resume"):
        (folder / "results.json").unlink()
    status = call(monkeypatch, command, *arguments, *(["--no-report"] if command is train else []))
    assert status == 0, " ".join(words)


@pytest.fixture(scope="session")
def reader(tmp_path_factory):
    """The folder of a reader, with two finished runs, to be copied."""
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder)
    with pytest.MonkeyPatch.context() as patch:
        not_drawn(patch)
        patch.chdir(folder)
        patch.setenv("ZF_PYRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name, family in (("plain", "zforcing"), ("other", "storn")):
            follow(["python", "run.py", "--dataset", "imdb", "--family", family, "--output", f"runs/{name}"], patch)
    return folder


@pytest.fixture
def here(reader, tmp_path, monkeypatch, no_ink):
    """A copy of it as the current folder; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "reader"
    shutil.copytree(reader, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    pyro.clear_param_store()
    yield folder
    pyro.clear_param_store()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if page in LONG else ()) for page in PAGES if runnable(page)],
)
def test_the_blocks_of_a_page_run(page, here, monkeypatch):
    for block in blocks(page):
        if block.file is not None:
            (here / block.file).write_text(block.code if block.language == "python" else short_sweep(block.code))
    names = {"__name__": "__main__"}
    for block in runnable(page):
        if block.language == "bash":
            for words in block.commands:
                follow(words, monkeypatch)
        elif block.file is None:
            exec(compile("\n" * block.line + block.short, page, "exec"), names)
