"""Parts of a user's own, named ``package.module:Name`` on the command line; the current folder is searched last."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from zf_pyro.errors import InputError


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
        raise InputError(f"{name} cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    if not callable(maker):
        raise InputError(f"{name} is a {type(maker).__name__}, not a class or a function that makes a part")

    def make(*arguments: Any) -> Any:
        try:
            made = maker(*arguments)
        except (Exception, SystemExit) as error:
            raise InputError(f"{name} cannot be made: {type(error).__name__}: {first_line(error)}") from error
        if not isinstance(made, kind):
            raise InputError(f"{name} made a {type(made).__name__}, not a {kind.__module__}.{kind.__qualname__}")
        return made

    return make


def first_line(error: BaseException) -> str:
    """What an exception says, at most a line."""
    return str(error).strip().split("\n")[0]
