"""From documents to an encoded corpus: each text once, in sentences, split by document, over one vocabulary.

Nothing here depends on the order in which the documents come: they are ranked by a hash of their text, and that rank
decides the split as well as the order within it.

Where a line is a sentence, it is a document of its own. Lines of files that are official splits all count, copies too,
so that figures compare with those of others on the same files.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from zf_pyro.data.splits import SPLITS, SplitSettings, assign
from zf_pyro.data.text.sources import Document
from zf_pyro.data.text.tokens import clean, normal_form, short_sentences, spaced_sentence, whole_characters
from zf_pyro.data.text.vocabulary import SPECIAL_WORDS, Vocabulary
from zf_pyro.errors import InputError


@dataclass(frozen=True)
class TextSettings(SplitSettings):
    """How text becomes a corpus. The defaults follow the paper where it says anything."""

    level: Literal["word", "char"] = "word"
    """What a token is: a word (in lower case where it is cut out of a document), or a character as it is written."""
    lines: Literal["documents", "sentences"] = "documents"
    """What a line (or the text of an entry) is: a document, to be cut into sentences and these into words; or one
    sentence, its words separated by spaces already."""
    min_tokens: int = 5
    """A sentence with fewer words is left out, at either level."""
    max_tokens: int = 16
    """A sentence with more words is left out."""
    vocabulary_size: int = 16_000
    """The most frequent words (or characters) that are kept, besides the four special ones."""
    min_count: int = 2
    """A word seen less often in training becomes <unk>. With 1, a small text, whose words all fit into the vocabulary,
    would hold no <unk> in training, and a model could not learn how often unknown words come."""

    def __post_init__(self) -> None:
        """Refuses settings that contradict each other or leave nothing."""
        super().__post_init__()
        if not 1 <= self.min_tokens <= self.max_tokens:
            raise InputError(
                f"min_tokens = {self.min_tokens} and max_tokens = {self.max_tokens}: "
                "the first is to be at least 1 and at most the second"
            )
        for name in ("vocabulary_size", "min_count"):
            if not getattr(self, name) >= 1:
                raise InputError(f"{name} = {getattr(self, name)}: it is to be at least 1")


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
    left_out: int
    """Documents without a sentence of the wanted length."""


class _Tokens(NamedTuple):
    """One document, its words numbered in the order in which they first came."""

    ids: np.ndarray
    lengths: np.ndarray
    split: str | None


def encode(documents: Iterable[Document], settings: TextSettings, source: str) -> EncodedText:
    """Cleans, splits and encodes documents. A progress bar goes to the terminal.

    Args:
        documents: in any order; a text that comes twice counts once, and for test (or else for validation) if one of
            its copies does.
        settings: what to keep.
        source: the name of the source, for messages.

    Raises:
        InputError: the documents hold no sentence of the wanted length, or too few for three splits.
    """
    numbers: dict[str, int] = {}
    unique = _unique(documents, settings)
    bar = tqdm(unique, desc="words", unit=" documents", disable=None)
    tokens = [found for document in bar if len((found := _tokenise(document, settings, numbers)).lengths)]
    if not tokens:
        raise InputError(
            f"{source}: no sentence of {settings.min_tokens} to {settings.max_tokens} words; "
            "give other text or other min_tokens and max_tokens"
        )
    wanted = f"with a sentence of {settings.min_tokens} to {settings.max_tokens} tokens"
    members = assign([document.split for document in tokens], settings, source, f"documents {wanted}")
    train_ids = np.concatenate([tokens[i].ids for i in members["train"]])
    counts = np.bincount(train_ids, minlength=len(numbers)).tolist()
    vocabulary = Vocabulary.from_counts(
        dict(zip(numbers, counts, strict=True)), size=settings.vocabulary_size, min_count=settings.min_count
    )
    if settings.level == "char" and " " not in vocabulary.words:
        # By the space `decode` knows that there are no spaces to put between the tokens.
        vocabulary = Vocabulary([*vocabulary.words[len(SPECIAL_WORDS) :], " "])
    dtype = np.uint16 if len(vocabulary) <= 1 << 16 else np.int32
    final = vocabulary.encode(numbers).astype(dtype)  # from first-come numbers to those of the vocabulary
    splits = {name: _gather([tokens[i] for i in members[name]], final) for name in SPLITS}
    return EncodedText(vocabulary, splits, len(unique) - len(tokens))


def _unique(documents: Iterable[Document], settings: TextSettings) -> list[Document]:
    """Each text once, cleaned, ranked by the hash of its normal form; of lines in official splits every copy."""
    kept: dict[tuple[bytes, str, int], Document] = {}
    copies: Counter[tuple[bytes, str]] = Counter()
    by_line = settings.lines == "sentences"
    for document in tqdm(documents, desc="reading", unit=" documents", disable=None):
        text = whole_characters(document.text) if by_line else clean(document.text)
        rank = hashlib.sha256(f"{settings.split_seed}:{normal_form(text)}".encode()).digest()
        key = (rank, "", 0)
        if by_line and document.split is not None:
            key = (rank, document.split, copies[rank, document.split])
            copies[rank, document.split] += 1
        copy = kept.get(key, Document(text, document.split))
        # Copies may differ in case and white space: which of them is kept must not depend on which came first.
        kept[key] = Document(min(copy.text, text), _strictest(copy.split, document.split))
    return [kept[key] for key in sorted(kept, key=lambda key: (*key[:2], kept[key].text))]


def _strictest(*splits: str | None) -> str | None:
    """Where a text belongs whose copies stand in several splits: in test, else in validation, else in training."""
    return next((name for name in reversed(SPLITS) if name in splits), None)


def _tokenise(document: Document, settings: TextSettings, numbers: dict[str, int]) -> _Tokens:
    ids, lengths = array("i"), array("i")
    found = short_sentences if settings.lines == "documents" else spaced_sentence
    for sentence in found(document.text, settings.min_tokens, settings.max_tokens):
        tokens = sentence.words if settings.level == "word" else sentence.characters
        ids.extend(numbers.setdefault(token, len(numbers)) for token in tokens)
        lengths.append(len(tokens))
    return _Tokens(np.frombuffer(ids, np.int32), np.frombuffer(lengths, np.int32), document.split)


def _gather(documents: Sequence[_Tokens], final: np.ndarray) -> EncodedSplit:
    tokens = final[np.concatenate([document.ids for document in documents])]
    lengths = np.concatenate([document.lengths for document in documents])
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return EncodedSplit(tokens, offsets, len(documents))
