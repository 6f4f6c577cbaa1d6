"""What a run was made with."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zf_pyro import __version__


def versions() -> dict[str, str]:
    """What a run was made with: packages, and the commit where the package is in its own checkout.

    The commit is empty elsewhere, and ends in "+changes" where the checkout differed from it.
    """
    commit = ""
    if (Path(__file__).parents[1] / ".git").exists():
        commit = git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    return {**packages(), "git_commit": commit}


def packages() -> dict[str, str]:
    """The versions of Python and of the packages that have a say in a run's numbers."""
    names = ("torch", "pyro-ppl", "numpy", "nltk", "sentencex")
    return {"zf_pyro": __version__, **{name: version(name) for name in names}, "python": platform.python_version()}


def other_versions(begun: Mapping[str, Any]) -> str:
    """What a run was begun with and is not here now, "torch 2.6.0 (now 2.7.0)"; empty where all is the same.

    Args:
        begun: what `versions` returned then, as config.toml has it.
    """
    now = packages()
    changed = (name for name in now if name in begun and begun[name] != now[name])
    return ", ".join(f"{name} {begun[name]} (now {now[name]})" for name in changed)


def git(*arguments: str) -> str:
    """What git prints about the package's checkout; nothing where git fails."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
