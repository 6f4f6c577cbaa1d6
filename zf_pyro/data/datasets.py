"""The data sets by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zf_pyro.data.arrays import load_arrays
from zf_pyro.data.corpus import Corpus
from zf_pyro.data.images import DIGITS, load_digits, load_mnist
from zf_pyro.data.music import load_music
from zf_pyro.data.splits import SplitSettings
from zf_pyro.data.text import load_text
from zf_pyro.errors import InputError


class DataSet(NamedTuple):
    """A data set that has a name.

    Attributes:
        about: what it is, in a few words.
        load: reads it from its files, under its settings.
        wants: what `--data` is to name; "" where nothing is needed.
    """

    about: str
    load: Callable[[Any, Any], Corpus]
    wants: str


MUSIC = "a piano-roll .npz, a .json of note lists, or a folder of MIDI files"

DATASETS: Mapping[str, DataSet] = {
    "imdb": DataSet("sentences of film reviews, or of any text", load_text, ""),
    "text": DataSet("any text with one sentence a line, its words separated by spaces", load_text, "a text"),
    "mnist": DataSet(
        "handwritten digits, 28 x 28 pixels, one a step", load_mnist, "the idx files, or the fixed binarised set"
    ),
    "digits": DataSet("handwritten digits, 8 x 8 pixels, from scikit-learn", load_digits, ""),
    "jsb": DataSet("Bach's chorales", load_music, MUSIC),
    "nottingham": DataSet("folk tunes", load_music, MUSIC),
    "piano": DataSet("classical piano music", load_music, MUSIC),
    "muse": DataSet("orchestral and piano music", load_music, MUSIC),
    "arrays": DataSet("sequences of your own", load_arrays, "an .npz file or a folder of .npy files"),
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
    known = DATASETS[name]
    if name == "imdb":
        return load_text(source or None, settings, download=download, say=say)  # type: ignore[arg-type]
    if download:
        raise InputError(f"--download fetches the reviews of imdb alone; name your {name} files with --data PATH")
    if not source and known.wants:
        raise InputError(f"{name}: name the files with --data PATH: {known.wants}")
    if name == "digits":
        if source not in ("", DIGITS):
            raise InputError("digits: they come with scikit-learn; leave out --data (mnist reads images from files)")
        return known.load(None, settings)
    path = Path(source)
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file or folder that can be read; give {known.wants}")
    if name == "text":
        return load_text(path, settings, say=say)  # type: ignore[arg-type]
    return known.load(path, settings)
