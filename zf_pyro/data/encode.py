"""From documents to an encoded corpus: each text once, in sentences, split by document, over one vocabulary.

Nothing here depends on the order in which the documents come: they are ranked by a hash of their text, and that rank
decides the split as well as the order within it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from zf_pyro.data.sources import Document
from zf_pyro.data.tokens import clean, normal_form, short_sentences
from zf_pyro.data.vocabulary import Vocabulary
from zf_pyro.errors import InputError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class TextSettings:
    """How text becomes a corpus. The defaults follow the paper where it says anything."""

    min_tokens: int = 5
    """A sentence with fewer tokens is left out."""
    max_tokens: int = 16
    """A sentence with more tokens is left out."""
    vocabulary_size: int = 16_000
    """The most frequent words that are kept, besides the four special ones."""
    min_count: int = 2
    """A word seen less often in training becomes <unk>. With 1, a small text, whose words all fit into the vocabulary,
    would hold no <unk> in training, and a model could not learn how often unknown words come."""
    valid_fraction: float = 0.05
    """The share of the documents for validation; of those outside the test split where the source brings one."""
    test_fraction: float = 0.10
    """The share of the documents for test; without effect where the source brings its own test split."""
    split_seed: int = 42
    """Another number gives another split."""

    def __post_init__(self) -> None:
        """Refuses settings that contradict each other or leave nothing."""
        if not 1 <= self.min_tokens <= self.max_tokens:
            raise InputError(
                f"min_tokens = {self.min_tokens} and max_tokens = {self.max_tokens}: "
                "the first is to be at least 1 and at most the second"
            )
        for name in ("vocabulary_size", "min_count"):
            if not getattr(self, name) >= 1:
                raise InputError(f"{name} = {getattr(self, name)}: it is to be at least 1")
        for name in ("valid_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: it is to lie between 0 and 1")
        if not self.valid_fraction + self.test_fraction < 1:
            raise InputError(
                f"valid_fraction = {self.valid_fraction} and test_fraction = {self.test_fraction}: "
                "nothing is left for training; lower one of them"
            )


class EncodedSplit(NamedTuple):
    """The sentences of one split as arrays."""

    tokens: np.ndarray
    """(M,) uint16 or int32, all sentences one after the other."""
    offsets: np.ndarray
    """(N + 1,) int64, where each sentence begins."""
    num_documents: int
    """The documents that they come from."""


class EncodedText(NamedTuple):
    """A corpus before it is stored."""

    vocabulary: Vocabulary
    splits: dict[str, EncodedSplit]


class _Tokens(NamedTuple):
    """One document, its words numbered in the order in which they first came."""

    ids: np.ndarray
    lengths: np.ndarray
    test: bool | None


def encode(documents: Iterable[Document], settings: TextSettings, source: str) -> EncodedText:
    """Cleans, splits and encodes documents. A progress bar goes to the terminal.

    Args:
        documents: in any order; a text that comes twice counts once, and for test if one of its copies does.
        settings: what to keep.
        source: the name of the source, for messages.

    Raises:
        InputError: the documents hold no sentence of the wanted length, or too few for three splits.
    """
    numbers: dict[str, int] = {}
    unique = _unique(documents, settings.split_seed)
    bar = tqdm(unique, desc="words", unit=" documents", disable=None)
    tokens = [found for document in bar if len((found := _tokenise(document, settings, numbers)).lengths)]
    if not tokens:
        raise InputError(
            f"{source}: no sentence of {settings.min_tokens} to {settings.max_tokens} tokens; "
            "give other text or other min_tokens and max_tokens"
        )
    members = _assign([document.test for document in tokens], settings, source)
    train_ids = np.concatenate([tokens[i].ids for i in members["train"]])
    counts = np.bincount(train_ids, minlength=len(numbers)).tolist()
    vocabulary = Vocabulary.from_counts(
        dict(zip(numbers, counts, strict=True)), size=settings.vocabulary_size, min_count=settings.min_count
    )
    dtype = np.uint16 if len(vocabulary) <= 1 << 16 else np.int32
    final = vocabulary.encode(numbers).astype(dtype)  # from first-come numbers to those of the vocabulary
    return EncodedText(vocabulary, {name: _gather([tokens[i] for i in members[name]], final) for name in SPLITS})


def _unique(documents: Iterable[Document], seed: int) -> list[Document]:
    """Each text once, cleaned, ranked by the hash of its normal form."""
    kept: dict[bytes, Document] = {}
    for document in tqdm(documents, desc="reading", unit=" documents", disable=None):
        text = clean(document.text)
        rank = hashlib.sha256(f"{seed}:{normal_form(text)}".encode()).digest()
        copy = kept.get(rank, Document(text, document.test))
        # Copies may differ in case and white space: which of them is kept must not depend on which came first.
        kept[rank] = Document(min(copy.text, text), copy.test or document.test)
    return [kept[rank] for rank in sorted(kept)]


def _tokenise(document: Document, settings: TextSettings, numbers: dict[str, int]) -> _Tokens:
    ids, lengths = array("i"), array("i")
    for words in short_sentences(document.text, settings.min_tokens, settings.max_tokens):
        ids.extend(numbers.setdefault(word, len(numbers)) for word in words)
        lengths.append(len(words))
    return _Tokens(np.frombuffer(ids, np.int32), np.frombuffer(lengths, np.int32), document.test)


def _assign(tests: Sequence[bool | None], settings: TextSettings, source: str) -> dict[str, list[int]]:
    """The documents of each split, by rank: the first are cut off for test, the next for validation."""
    ranks = range(len(tests))
    if any(test is not None for test in tests):
        test = [i for i in ranks if tests[i]]
        rest = [i for i in ranks if not tests[i]]
        if not test or len(rest) < 2:
            raise InputError(
                f"{source}: {len(rest)} training and {len(test)} test documents with a sentence of "
                f"{settings.min_tokens} to {settings.max_tokens} tokens; at least 2 and 1 are needed"
            )
    else:
        if len(tests) < 3:
            raise InputError(
                f"{source}: {len(tests)} documents with a sentence of {settings.min_tokens} to "
                f"{settings.max_tokens} tokens; at least 3 are needed, one for each split"
            )
        num_test = _share(settings.test_fraction, len(tests), len(tests) - 2)
        test, rest = list(ranks[:num_test]), list(ranks[num_test:])
    num_valid = _share(settings.valid_fraction, len(tests) if tests[0] is None else len(rest), len(rest) - 1)
    return {"train": rest[num_valid:], "valid": rest[:num_valid], "test": test}


def _share(fraction: float, total: int, most: int) -> int:
    """A fraction of a total, at least 1."""
    return min(max(1, round(fraction * total)), most)


def _gather(documents: Sequence[_Tokens], final: np.ndarray) -> EncodedSplit:
    tokens = final[np.concatenate([document.ids for document in documents])]
    lengths = np.concatenate([document.lengths for document in documents])
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return EncodedSplit(tokens, offsets, len(documents))
