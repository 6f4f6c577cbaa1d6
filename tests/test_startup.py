"""What is imported when."""

import subprocess
import sys
from importlib import import_module
from pkgutil import walk_packages

import click
import pytest

import zf_pyro
from zf_pyro.cli import COMMANDS, cli

HELP = """
import sys
from zf_pyro.cli import main
sys.argv[1:] = ["--help"]
try:
    main()
finally:
    print("torch" in sys.modules)
"""

EACH_ALONE = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [each for each in sys.modules if each.startswith("zf_pyro")]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300)


def test_the_list_of_commands_needs_no_torch():
    found = run(HELP)
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith("False\n")
    assert all(f"  {name} " in found.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_it_is_said_to_be(name):
    command = cli.get_command(None, name)
    assert isinstance(command, click.Command)
    assert command.name == name


def test_no_command_is_left_out():
    modules = {where.partition(":")[0] for where, _ in COMMANDS.values()}
    found = [each for name in modules for each in vars(import_module(name)).values() if isinstance(each, click.Command)]
    assert {command.name for command in found} == {*COMMANDS}


def test_an_unknown_command_is_one_line(zf):
    status, _, error = zf("trian")
    assert (status, error.count("\n")) == (2, 1)
    assert "trian" in error


def test_every_name_of_the_package_is_there():
    assert {*zf_pyro.__all__} <= {*dir(zf_pyro)}
    assert all(getattr(zf_pyro, name) is not None for name in zf_pyro.__all__)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        zf_pyro.nothing_like_it  # noqa: B018


def test_every_module_can_be_imported_first():
    names = [each.name for each in walk_packages(zf_pyro.__path__, "zf_pyro.")]
    found = run(EACH_ALONE, *names)
    assert found.returncode == 0, found.stderr
