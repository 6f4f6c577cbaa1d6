"""The data sets by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from zf_pyro.data.arrays import given_arrays, load_arrays
from zf_pyro.data.corpus import Corpus
from zf_pyro.data.given import Given, Reading
from zf_pyro.data.images import DIGITS, ImageSettings, given_images, load_digits, load_mnist
from zf_pyro.data.music import given_music, load_music
from zf_pyro.data.speech import given_audio, load_audio, load_timit
from zf_pyro.data.splits import SplitSettings
from zf_pyro.data.text import TextSettings, given_text, load_text
from zf_pyro.errors import InputError


class DataSet(NamedTuple):
    """A data set that has a name.

    Attributes:
        load: reads it, called as ``load(place, settings, say=say)``: with a path that there is, or, of a set that wants
            none, with what was given all the same, "" for nothing.
        given: reads a file for a finished run, called as ``given(path, reading, say=say)``.
        wants: what `--data` is to name; "" where it may be left out.
    """

    load: Callable[..., Corpus]
    given: Callable[..., Given]
    wants: str = ""


def _reviews(source: str, settings: TextSettings, **options: Any) -> Corpus:
    return load_text(source or None, settings, **options)


def _digits(source: str, settings: ImageSettings, *, say: Callable[[str], None]) -> Corpus:
    if source not in ("", DIGITS):
        raise InputError("digits: they come with scikit-learn; leave out --data (mnist reads images from files)")
    return load_digits(None, settings)


def _quiet(load: Callable[[Path, Any], Any]) -> Callable[..., Any]:
    """A reader that has nothing to say."""
    return lambda path, settings, *, say: load(path, settings)


_MUSIC = DataSet(
    _quiet(load_music), _quiet(given_music), "a piano-roll .npz, a .json of note lists, or a folder of MIDI files"
)
_IMAGES, _TEXT = _quiet(given_images), _quiet(given_text)

DATASETS: Mapping[str, DataSet] = {
    "imdb": DataSet(_reviews, _TEXT),
    "text": DataSet(load_text, _TEXT, "a text"),
    "mnist": DataSet(_quiet(load_mnist), _IMAGES, "the idx files, or the fixed binarised set"),
    "digits": DataSet(_digits, _IMAGES),
    "jsb": _MUSIC,
    "nottingham": _MUSIC,
    "piano": _MUSIC,
    "muse": _MUSIC,
    "timit": DataSet(load_timit, given_audio, "the folder of the corpus, or prepared audio"),
    "blizzard": DataSet(
        partial(load_audio, named=False), given_audio, "the folder of the audiobook, or prepared audio"
    ),
    "audio": DataSet(load_audio, given_audio, "a folder of audio files, or prepared audio"),
    "arrays": DataSet(_quiet(load_arrays), _quiet(given_arrays), "an .npz file or a folder of .npy files"),
}


def open_data(
    name: str, source: str, settings: SplitSettings, *, download: bool = False, say: Callable[[str], None]
) -> Corpus:
    """Read a data set.

    Args:
        name: a key of `DATASETS`.
        source: where it is, or "" where it needs no place or is looked for.
        settings: of its kind.
        download: fetch it first; only imdb can be.
        say: is told what a user should know.

    Raises:
        InputError: it cannot be read.
    """
    load, _, wants = DATASETS[name]
    if download and name != "imdb":
        raise InputError(f"--download fetches the reviews of imdb alone; name your {name} files with --data PATH")
    if download:
        load = partial(load, download=True)
    if not wants:
        return load(source, settings, say=say)
    return load(require_source(name, source), settings, say=say)


def require_source(name: str, source: str) -> Path:
    """Where a data set is that wants a place.

    Raises:
        InputError: none was named, or there is nothing.
    """
    wants = DATASETS[name].wants
    if not source:
        raise InputError(f"{name}: name the files with --data PATH: {wants}")
    path = Path(source)
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file or folder that can be read; give {wants}")
    return path


def open_given(name: str, path: Path, reading: Reading, say: Callable[[str], None]) -> Given:
    """Read a file for a run on a data set.

    Raises:
        InputError: there is nothing at `path`, or it cannot be read as the run's kind of data.
    """
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file or folder that can be read")
    return DATASETS[name].given(path, reading, say=say)
