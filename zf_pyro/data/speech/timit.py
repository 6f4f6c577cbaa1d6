"""The names of TIMIT's utterances, in the layouts in which the corpus is found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

OFFICIAL = {"train": 4_620, "test": 1_680}
"""Utterances of LDC93S1."""

_NAMES = (
    re.compile(r"(?:(?:.*/)?(train|test)/|(?:.*/)?)dr([1-8])/([fm][a-z]{3}\d)/(s[aix]\d+)\.[^/]*"),
    re.compile(r"(?:.*/)?()dr([1-8])-([fm][a-z]{3}\d)/(s[aix]\d+)\.[^/]*"),
)
"""The layout of LDC93S1, and that of a sample which NLTK distributes; in small letters."""


class Utterance(NamedTuple):
    """An utterance. They sort by part, dialect, speaker and sentence."""

    part: str
    """"train", "test", or "" where the copy does not say."""
    dialect: str
    speaker: str
    sentence: str

    @property
    def name(self) -> str:
        """The same in every copy."""
        return "/".join(self)


def utterance(name: str) -> Utterance | None:
    """The utterance that a path names, or None; case does not matter."""
    for pattern in _NAMES:
        if match := pattern.fullmatch(name.lower()):
            return Utterance(*(group or "" for group in match.groups()))
    return None


def utterances(names: Iterable[str]) -> dict[int, Utterance]:
    """The places of the utterances among some paths; of two copies of one ("SA1.WAV", "SA1.WAV.wav") the first."""
    found: dict[Utterance, int] = {}
    for place, name in enumerate(names):
        if (each := utterance(name)) is not None:
            found.setdefault(each, place)
    return {place: each for each, place in found.items()}


def is_complete(spoken: Iterable[Utterance]) -> bool:
    """Whether some utterances are as many as the corpus has."""
    return Counter(each.part for each in spoken) == OFFICIAL
