"""Parts of a user's own, named ``package.module:Name`` on the command line; the current folder is searched last.

To import a module is to run it. What a user typed is the user's own; what a file names may be a stranger's, and is
imported only where its user says so.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from zf_pyro.errors import InputError, check

INSTALLED = (str(Path(__file__).parent), *sysconfig.get_paths().values())
"""Where code lies that is not a user's own."""


def imported(name: str, kind: type) -> Callable[..., Any]:
    """What makes the part of a name; called, it raises `InputError` where that fails or makes something else.

    Args:
        name: ``package.module:Name``.
        kind: what it is to make.

    Raises:
        InputError: there is no such module, no such name in it, or it cannot be called.
    """
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        maker = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever a module raises while it is imported
        raise InputError(f"{name} cannot be imported: {told(error)}") from error
    if not callable(maker):
        raise InputError(f"{name} is a {type(maker).__name__}, not a class or a function that makes a part")

    def make(*arguments: Any) -> Any:
        try:
            made = maker(*arguments)
        except (Exception, SystemExit) as error:
            raise InputError(f"{name} cannot be made: {told(error)}") from error
        if not isinstance(made, kind):
            raise InputError(f"{name} made a {type(made).__name__}, not a {kind.__module__}.{kind.__qualname__}")
        return made

    return make


def require_trust(parts: Mapping[str, str], path: Path, *, trust: bool) -> None:
    """Refuse to import what a file names, unless its user trusts it.

    Args:
        parts: the names by field, as `ModelConfig.own_parts` gives them.
        path: the file that names them.
        trust: whether they may be imported.

    Raises:
        InputError: they may not.
    """
    names = ", ".join(f"{field} = {name!r}" for field, name in parts.items())
    hint = "--trust (in Python: trust=True) imports it, and it may do anything"
    check(trust or not parts, f"{path} names code, which is not imported: {names}; {hint}")


def told(error: BaseException) -> str:
    """An exception in a line: its kind, its first line, and where in a user's own code it came from."""
    first, *_ = str(error).strip().splitlines() or [""]
    message = f"{type(error).__name__}: {first}" if first else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*INSTALLED, "<"))]
    return f"{message} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else message
