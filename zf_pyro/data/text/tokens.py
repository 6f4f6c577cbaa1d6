"""From a raw review to lower-case words, sentence by sentence.

Two libraries, and why these:

* ``sentencex`` splits sentences. It knows English abbreviations, quotations and brackets, needs no model file, and
  takes under a tenth of a millisecond a review. The splitter in the paper's code has to download its model first.
* nltk's ``NLTKWordTokenizer`` splits words. It is the tokeniser inside ``nltk.word_tokenize``, which the paper's code
  used, and it is plain regular expressions: nothing to download either.

Tokenising takes a quarter of a millisecond a sentence, nearly all the time of building a corpus. The tokeniser splits
at every white space and never joins, so a sentence with too many white-space words is known to have too many tokens
and is left out beforehand.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

MARKS = ("<pad>", "<s>", "</s>")

# The white space is bounded so that a long run of it cannot be tried at every start.
_BREAK = re.compile(r"<\s{0,4}/?\s{0,4}br\b[^<>]*>", re.IGNORECASE)


def clean(text: str) -> str:
    """Text without markup: entities become characters, and ``<br />`` of any spelling ends a paragraph."""
    return _BREAK.sub("\n\n", html.unescape(whole_characters(text)))


def whole_characters(text: str) -> str:
    """Text without half surrogate pairs, which JSON can hold, but which cannot be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def normal_form(text: str) -> str:
    """What two copies of one document agree in: cleaned, in lower case, with single spaces."""
    return " ".join(text.lower().split())


def sentences(text: str) -> Iterator[str]:
    """The sentences of a cleaned text, as they are written."""
    from sentencex import segment

    for sentence in segment("en", text):
        if stripped := sentence.strip():
            yield stripped


def words(sentence: str) -> list[str]:
    """The tokens of one sentence, in lower case; never fewer than its white-space words, and none holds white space."""
    return _tokenizer().tokenize(sentence.lower())


class Sentence(NamedTuple):
    """A sentence as it is written, and its words."""

    text: str
    words: list[str]

    @property
    def characters(self) -> list[str]:
        """Its characters, any run of white space as one space."""
        return list(" ".join(self.text.split()))


def short_sentences(text: str, min_tokens: int, max_tokens: int) -> Iterator[Sentence]:
    """Those sentences of a cleaned text that have ``min_tokens`` to ``max_tokens`` words."""
    for sentence in sentences(text):
        if len(sentence.split()) <= max_tokens:
            tokens = words(sentence)
            if min_tokens <= len(tokens) <= max_tokens:
                yield Sentence(sentence, tokens)


def spaced_sentence(line: str, min_tokens: int, max_tokens: int) -> Iterator[Sentence]:
    """A line that is one sentence, with spaces between its words, if it has ``min_tokens`` to ``max_tokens`` of them.

    Marks of its beginning, its end and of padding are left out; ``<unk>`` is the unknown word.
    """
    found = [word for word in line.split() if word not in MARKS]
    if min_tokens <= len(found) <= max_tokens:
        yield Sentence(" ".join(found), found)


@cache
def _tokenizer() -> Any:
    # nltk takes seconds to import, and a corpus that is opened from the cache does not need it.
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()
