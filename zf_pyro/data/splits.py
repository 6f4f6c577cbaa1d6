"""Training, validation and test: the parts of a data set, and how one without official parts is cut.

Nothing here depends on the order in which files or sequences come: they are ranked by a hash of their content, and the
ranking is cut.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args, get_origin, get_type_hints

from zf_pyro.errors import InputError

SPLITS = ("train", "valid", "test")

_NAMES = {"train": "train", "training": "train", "test": "test"}
_NAMES |= dict.fromkeys(("valid", "validation", "val", "dev"), "valid")


@dataclass(frozen=True)
class SplitSettings:
    """How a data set without official splits is cut. Data sets add fields of their own."""

    valid_fraction: float = 0.05
    """The share for validation; of those outside the test split where the source brings one. Without effect where the
    source brings its own validation split."""
    test_fraction: float = 0.10
    """The share for test. Without effect where the source brings its own test split."""
    split_seed: int = 42
    """Another number gives another split, and other subsets for validation and test."""

    def __post_init__(self) -> None:
        """Refuse fractions that leave nothing, and what is none of a field's choices."""
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise InputError(f"{name} must be one of {', '.join(get_args(kind))}, not {getattr(self, name)!r}")
        for name in ("valid_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: it is to lie between 0 and 1")
        if not self.valid_fraction + self.test_fraction < 1:
            raise InputError(
                f"valid_fraction = {self.valid_fraction} and test_fraction = {self.test_fraction}: "
                "nothing is left for training; lower one of them"
            )
        if self.split_seed < 0:
            raise InputError(f"split_seed = {self.split_seed}: it is to be at least 0")


def slashed(numbers: Iterable[int]) -> str:
    """A number of each split, for a line to the user: "1,200 / 60 / 120"."""
    return " / ".join(f"{number:,}" for number in numbers)


def split_named(name: str) -> str | None:
    """The split that a name begins with, as a word of its own: "val_3" is of "valid", "trainer" of none."""
    first = re.match(r"[A-Za-z]+", name)
    return _NAMES.get(first[0].lower()) if first else None


def split_in(name: str) -> str | None:
    """The split of the first word anywhere in a name, or in a path, that names one: "x_train", "ptb.valid.txt"."""
    return next((split for word in re.findall(r"[A-Za-z]+", name) if (split := split_named(word))), None)


def split_of(path: PurePath) -> str | None:
    """The split that the outermost part of a path with the name of one begins with."""
    return next((split for part in path.parts if (split := split_named(part))), None)


def one_without(official: Sequence[str | None]) -> int | None:
    """The place of the first thing without a split, where others have one: names are to say it of all or of none."""
    return list(official).index(None) if any(official) and None in official else None


def ranking(contents: Iterable[bytes], seed: int) -> list[int]:
    """The places of some contents in the order of their hashes: their own, whatever the order in which they come."""
    digests = [hashlib.sha256(b"%d:" % seed + content).digest() for content in contents]
    return sorted(range(len(digests)), key=digests.__getitem__)


def assign(
    official: Sequence[str | None], settings: SplitSettings, source: str, what: str = "sequences"
) -> dict[str, list[int]]:
    """The places of each split among things that are ranked already.

    Things of an official test or validation split stay in it. A split that the source lacks is cut from the front of
    the others: first test, then validation.

    Args:
        official: for each thing the split that the source gives it, or None.
        settings: the fractions.
        source: its name, for messages.
        what: the name of the things, for messages.

    Raises:
        InputError: a split would be empty.
    """
    total = len(official)
    members = {name: [i for i in range(total) if official[i] == name] for name in SPLITS[1:]}
    rest = [i for i in range(total) if official[i] not in members]
    missing = [name for name in ("test", "valid") if not members[name]]
    named = any(split is not None for split in official)
    if named and (not members["test"] or len(rest) < 1 + len(missing)):
        raise InputError(
            f"{source}: {len(rest)} training and {len(members['test'])} test {what}; "
            f"at least {1 + len(missing)} and 1 are needed where names or the source give splits"
        )
    if len(rest) < 1 + len(missing):
        raise InputError(f"{source}: {total} {what}; at least 3 are needed, one for each split")
    if "test" in missing:
        cut = share(settings.test_fraction, total, len(rest) - len(missing))
        members["test"], rest = rest[:cut], rest[cut:]
    if "valid" in missing:
        cut = share(settings.valid_fraction, len(rest) if named else total, len(rest) - 1)
        members["valid"], rest = rest[:cut], rest[cut:]
    return {"train": rest, "valid": members["valid"], "test": members["test"]}


def share(fraction: float, total: int, most: int) -> int:
    """A fraction of a total, at least 1."""
    return min(max(1, round(fraction * total)), most)
