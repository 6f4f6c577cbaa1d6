"""Text for a finished run: cut as its own text was, over the vocabulary that it was trained with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zf_pyro.data.given import Given, Reading
from zf_pyro.data.text.corpus import Sentences
from zf_pyro.data.text.encode import TextSettings
from zf_pyro.data.text.sources import Document, read_documents, source_files
from zf_pyro.data.text.tokens import Sentence, clean, short_sentences, spaced_sentence, whole_characters, words
from zf_pyro.data.text.vocabulary import UNKNOWN, Vocabulary
from zf_pyro.errors import InputError


def given_text(path: Path, reading: Reading) -> Given:
    """The sentences of a file or a folder, of any length, in order and with copies.

    A sentence is named by its line or file, and where these are documents by its number in the document, "12.3".

    Raises:
        InputError: as `read_documents` does, or there is no sentence.
    """
    settings: TextSettings = reading.settings
    vocabulary = reading.vocabulary
    assert vocabulary is not None  # every run on text has one
    found = dict(named_sentences(path, settings))
    if not found:
        raise InputError(f"{path}: no sentence in it")
    by_word = settings.level == "word"
    ids = [vocabulary.encode(each.words if by_word else each.characters) for each in found.values()]
    offsets = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    sentences = Sentences(np.concatenate(ids), offsets)
    return Given(list(found), sentences, list(remarks(list(found.values()), sentences, settings, vocabulary)))


def named_sentences(path: Path, settings: TextSettings) -> Iterator[tuple[str, Sentence]]:
    """The sentences of a source by name; lines that hold none have none."""
    by_line = settings.lines == "sentences"
    cut = spaced_sentence if by_line else short_sentences
    for document in documents(path, by_line=by_line):
        text = whole_characters(document.text) if by_line else clean(document.text)
        for number, sentence in enumerate(cut(text, 1, sys.maxsize), 1):
            yield document.name if by_line else f"{document.name}.{number}", sentence


def documents(path: Path, *, by_line: bool) -> Iterator[Document]:
    """What is read of a source, with a name of its own: lines of every file where a line is a sentence."""
    if not (by_line and path.is_dir()):
        yield from read_documents(path)
        return
    for file in source_files(path):
        for line in read_documents(file):
            yield line._replace(name=f"{file.relative_to(path).as_posix()}:{line.name}")


def one_sentence(text: str, settings: TextSettings, vocabulary: Vocabulary) -> np.ndarray:
    """A sentence, or the beginning of one, cut into tokens as the text of a run was, (n,) int32; it is not cut in two.

    Raises:
        InputError: there is no token in it.
    """
    if settings.lines == "sentences":
        found = next(spaced_sentence(whole_characters(text), 1, sys.maxsize), None)
    else:
        cleaned = clean(text)
        found = Sentence(cleaned, words(cleaned)) if cleaned.strip() else None
    ids = (
        vocabulary.encode([])
        if found is None
        else vocabulary.encode(found.words if settings.level == "word" else found.characters)
    )
    if not len(ids):
        raise InputError(f"a sentence without a {settings.level}: {text[:40]!r}")
    return ids


def remarks(
    found: list[Sentence], sentences: Sentences, settings: TextSettings, vocabulary: Vocabulary
) -> Iterator[str]:
    """What sets the text apart from that of training."""
    unknown = int((sentences.tokens == UNKNOWN).sum())
    kind = "words" if settings.level == "word" else "characters"
    yield f"{unknown:,} of {len(sentences.tokens):,} {kind} are not among the run's {len(vocabulary):,}, and are <unk>"
    other = sum(not settings.min_tokens <= len(each.words) <= settings.max_tokens for each in found)
    if other:
        lengths = f"{settings.min_tokens} to {settings.max_tokens}"
        yield f"sentences of other than {lengths} words, of which there were none in training: {other:,}"
