"""Commands on data, parts and speed: prepare, data, parts, benchmark."""

from __future__ import annotations

import json
import os
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import click
import torch

from zf_pyro.benchmark import report as measured
from zf_pyro.console import say
from zf_pyro.data.datasets import require_source
from zf_pyro.data.speech import SpeechSettings, described, is_prepared, prepare_audio
from zf_pyro.devices import choose_device
from zf_pyro.errors import InputError
from zf_pyro.fields import override
from zf_pyro.files import explained, require_free, require_writable
from zf_pyro.opening import open_corpus
from zf_pyro.options import FOLDER, VERBOSITY, data_options, requested
from zf_pyro.parts import told as told_parts
from zf_pyro.presets import preset
from zf_pyro.presets import told as told_presets
from zf_pyro.schedules import told as told_schedules
from zf_pyro.scopes import prepare_torch
from zf_pyro.summary import draw_some, table


@click.command("prepare")
@click.argument("dataset")
@data_options
@click.option("--to", "folder", type=FOLDER, required=True, help="The folder to write; one half written is completed.")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Files to read at a time [default: one a core].")
@VERBOSITY
def prepare_data(dataset: str, folder: Path, workers: int, **options: Any) -> None:
    """Write the recordings of DATASET into --to, from where training reads them: --data FOLDER."""
    config = override(preset(dataset, "quick"), requested(options))
    if not isinstance(config.data, SpeechSettings):
        raise InputError(f"{dataset} needs no preparation; timit, blizzard and audio are prepared")
    source = require_source(dataset, config.source)
    if is_prepared(source):
        raise InputError(f"{source} is prepared audio already; name the folder of the recordings")
    prepared = prepare_audio(source, folder, config.data, workers=workers, say=say)
    for line in described(prepared):
        say(line)
    say(f"Prepared: {folder}; train with --data {folder}")


@click.command("data")
@click.argument("dataset")
@data_options
@click.option("--preset", "preset_name", default="quick", help="Whose settings to read it by [default: quick].")
@click.option("--png", type=FOLDER, help="The picture to draw [default: DATASET.png, or DATASET-NUMBER.png].")
@click.option("--force", is_flag=True, help="Overwrite --png.")
def show_data(dataset: str, preset_name: str, png: Path | None, force: bool, **options: Any) -> None:
    """Print what is in DATASET, split by split, and draw a few of its sequences."""
    config = override(preset(dataset, preset_name), requested(options))
    picture = free_picture(dataset, force=force) if png is None else require_png(png, "--png")
    require_free(picture, "--png", force=force)
    corpus = open_corpus(config, say, download=options["download"])
    for line in table(corpus):
        say(line)
    with explained(f"cannot write {picture}"):
        draw_some(corpus, picture)
    say(f"Drawn: {picture}")


@click.command()
def parts() -> None:
    """List what a model is put together from, the schedules, and the presets' weights and learning rates."""
    for line in (*told_parts(), *told_schedules(), *told_presets()):
        say(line)


@click.command()
@click.option("--sizes", type=click.Choice([*measured.CHOICES, "all"]), default="all", help="What to measure.")
@click.option("--repeats", type=click.IntRange(min=1), default=7, help="Rounds to take the median of.")
@click.option("--scaling", type=FOLDER, metavar="PNG", help="Measure over T and K instead, and draw that picture.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def benchmark(sizes: str, repeats: int, scaling: Path | None, device: str, as_json: bool) -> None:
    """Time a training step in both forms beside a plain PyTorch loop and a loop-free floor."""
    prepare_torch()
    chosen = torch.device(choose_device(device))
    if scaling is not None:
        require_png(scaling, "--scaling")
        require_writable(scaling.absolute().parent)
    tell_about = partial(click.echo, err=as_json)
    names = list(measured.CHOICES) if sizes == "all" else [sizes]
    figures = (
        measured.benchmark(names, repeats, chosen, tell_about)
        if scaling is None
        else measured.scaling(repeats, chosen, scaling, tell_about)
    )
    if as_json:
        click.echo(json.dumps(figures, indent=2))


def free_picture(dataset: str, *, force: bool) -> Path:
    """The first of DATASET.png, DATASET-2.png, .. that is free; with `force` the first of all."""
    names = (Path(f"{dataset}.png" if number == 1 else f"{dataset}-{number}.png") for number in count(1))
    return next(path for path in names if force or not os.path.lexists(path))


def require_png(path: Path, option: str) -> Path:
    """The path itself.

    Raises:
        InputError: it is not named as a picture of the kind that is drawn.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"{option} draws a .png, and {path} is named otherwise")
    return path
