"""Words and their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from zf_pyro.errors import InputError

PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL_WORDS = ("<pad>", "<s>", "</s>", "<unk>")
"""The words of the first four numbers."""


class Vocabulary:
    """A list of words, or of characters; the number of a word is its place in the list.

    Attributes:
        words: every word by its number, the four special ones first.
    """

    def __init__(self, words: Iterable[str]) -> None:
        """Numbers the words as they come.

        Args:
            words: the ordinary words, without the special ones.

        Raises:
            InputError: a word is empty, stands there twice, or holds a line feed, which ends a word in the file.
        """
        self.words: list[str] = [*SPECIAL_WORDS, *words]
        self._numbers = {word: number for number, word in enumerate(self.words)}
        if len(self._numbers) < len(self.words):
            raise InputError("a vocabulary with a word that stands there twice; keep one of the two")
        if any(not word or "\n" in word for word in self.words):
            raise InputError("a vocabulary with an empty word or one that holds a line feed; remove it")

    def __len__(self) -> int:
        """V, the special words included."""
        return len(self.words)

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], *, size: int, min_count: int) -> Vocabulary:
        """The ``size`` most frequent of the words counted ``min_count`` times or more; ties in alphabetical order.

        The special words are none of them: text that was prepared elsewhere may hold ``<unk>``.
        """
        kept = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL_WORDS]
        kept.sort(key=lambda word: (-counts[word], word))
        return cls(kept[:size])

    def encode(self, words: Iterable[str]) -> np.ndarray:
        """The numbers of some words, (n,) int32; a word that is not in the vocabulary gets ``UNKNOWN``.

        Raises:
            TypeError: a text instead of a list of words.
        """
        if isinstance(words, str):
            raise TypeError("encode takes a list of words, as zf_pyro.data.tokens.words makes it, not a text")
        return np.array([self._numbers.get(word, UNKNOWN) for word in words], dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """The words of some numbers; stops at ``END`` and leaves out ``PAD`` and ``START``.

        There is a space between words, and none where the vocabulary has the space as a word: it is one of characters.
        """
        found = []
        for number in ids:
            if number == END:
                break
            if number not in (PAD, START):
                found.append(self.words[int(number)])
        return ("" if " " in self._numbers else " ").join(found)

    def save(self, path: Path) -> None:
        """Writes one word a line, UTF-8: the word numbered i stands on line i + 1."""
        path.write_bytes("".join(f"{word}\n" for word in self.words).encode("utf-8"))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        r"""Reads what ``save`` wrote. Only ``\n`` ends a word: others of Unicode's line ends may stand inside one.

        Raises:
            InputError: the file cannot be read, or does not begin with the special words.
        """
        try:
            lines = path.read_bytes().decode("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as a vocabulary ({error})") from error
        if tuple(lines[: len(SPECIAL_WORDS)]) != SPECIAL_WORDS or lines[-1]:
            raise InputError(f"{path}: not a vocabulary; it begins with the lines {', '.join(SPECIAL_WORDS)}")
        return cls(lines[len(SPECIAL_WORDS) : -1])
