"""One file a data set: the configurations that a run can start from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zf_pyro.config import Config
from zf_pyro.errors import InputError, unknown_name
from zf_pyro.fields import flatten, override, read_table
from zf_pyro.presets import arrays, images, imdb, music, speech, text

PRESETS: Mapping[str, Mapping[str, Config]] = {
    "imdb": {"paper": imdb.PAPER, "quick": imdb.QUICK},
    "text": {"paper": text.PAPER, "quick": text.QUICK},
    "mnist": {"paper": images.MNIST_PAPER, "quick": images.MNIST_QUICK},
    "digits": {"paper": images.DIGITS_PAPER, "quick": images.DIGITS_QUICK},
    "jsb": {"paper": music.JSB_PAPER, "quick": music.JSB_QUICK},
    "nottingham": music.of("nottingham", steps_per_beat=2),
    "piano": music.of("piano", steps_per_beat=4),
    "muse": music.of("muse", steps_per_beat=4),
    "timit": {"paper": speech.TIMIT_PAPER, "quick": speech.TIMIT_QUICK},
    "blizzard": {"paper": speech.BLIZZARD_PAPER, "quick": speech.BLIZZARD_QUICK},
    "audio": {"paper": speech.AUDIO_PAPER, "quick": speech.AUDIO_QUICK},
    "arrays": {"paper": arrays.PAPER, "quick": arrays.QUICK},
}
"""Data set, preset, configuration."""


def preset(dataset: str, name: str) -> Config:
    """A preset by name.

    Raises:
        InputError: no such data set or preset.
    """
    if dataset not in PRESETS:
        raise InputError(unknown_name("data set", dataset, PRESETS))
    if name not in PRESETS[dataset]:
        raise InputError(unknown_name(f"{dataset} preset", name, PRESETS[dataset]))
    return PRESETS[dataset][name]


def told() -> Iterator[str]:
    """The weights and the learning rate of every preset, a line each, under headings."""
    yield "Presets; where validation gets worse the learning rate is halved"
    rows: list[tuple[str, ...]] = [("data set", "preset", "alpha", "beta", "gamma", "learning rate")]
    for dataset, presets in PRESETS.items():
        for name, config in presets.items():
            schedules = [*config.objective.weights.values(), config.training.rate]
            rows.append((dataset, name, *(schedule.text for schedule in schedules)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def read_config(path: Path) -> Config:
    """The configuration in a config.toml: its preset, with the file's fields on top.

    Raises:
        InputError: the file cannot be read, names no data set or preset, or holds a wrong field or value.
    """
    values: dict[str, Any] = flatten(read_table(path), path)
    for name in ("dataset", "preset"):
        if not isinstance(values.get(name), str):
            raise InputError(f"{path} names no {name}")
    try:
        return override(preset(values["dataset"], values["preset"]), values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
