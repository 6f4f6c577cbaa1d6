"""Commands on data and runs: train, evaluate, prepare, data, parts, benchmark."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, get_args

import click
import torch
from click.core import ParameterSource

from zf_pyro import runs
from zf_pyro.console import say
from zf_pyro.data.datasets import DATASETS, require_source
from zf_pyro.data.speech import SpeechSettings, described, is_prepared, prepare_audio
from zf_pyro.errors import InputError, Interrupted, signal_of
from zf_pyro.events import require_log
from zf_pyro.experiment import (
    choose_device,
    evaluate_run,
    evaluation_file,
    open_corpus,
    prepare,
    resume,
    start,
)
from zf_pyro.fields import override
from zf_pyro.figures import told
from zf_pyro.files import explained, require_free, require_writable
from zf_pyro.options import (
    FOLDER,
    TRUST,
    VERBOSITY,
    configure,
    count_or_all,
    data_options,
    headline,
    part_options,
    requested,
    require_own,
    schedule_options,
)
from zf_pyro.parts import OBJECTIVES
from zf_pyro.parts import told as told_parts
from zf_pyro.paths import Form
from zf_pyro.precision import MatmulPrecision, Precision
from zf_pyro.presets import preset
from zf_pyro.presets import told as told_presets
from zf_pyro.report.command import report_run
from zf_pyro.schedules import told as told_schedules
from zf_pyro.scopes import prepare_torch
from zf_pyro.summary import draw_some, table

FORM = click.Choice(["path", "step"])
LOG = click.Choice(["jsonl", "tensorboard"])
PRECISION = click.Choice(get_args(Precision))
MATMUL_PRECISION = click.Choice(get_args(MatmulPrecision))


@click.command()
@click.option("--dataset", help=f"The data set: {', '.join(DATASETS)}.")
@data_options
@click.option("--preset", "preset_name", help="paper or quick [default: paper with a GPU, quick without].")
@click.option("--config", "config_file", type=FOLDER, help="Start from a config.toml instead of a preset.")
@click.option(
    "--resume",
    "resumed",
    type=FOLDER,
    metavar="RUN",
    help="Go on with an unfinished run; takes no other option but --trust, --no-report, -v and -q.",
)
@click.option("--output", type=FOLDER, help="The run's folder [default: runs/DATASET-PRESET-SEED-NUMBER].")
@click.option("--force", is_flag=True, help="Overwrite a run in --output.")
@click.option("--seed", type=int, help="Of initialisation, batches, noise and evaluation.")
@click.option("--device", default=None, help="auto, cpu, cuda or cuda:N [default: auto].")
@click.option("--max-steps", type=click.IntRange(min=1), help="Updates at most.")
@click.option("--epochs", type=int, help="Passes over the training split at most.")
@part_options
@click.option("--batch-size", type=int, help="Sequences an update.")
@click.option("--objective", type=click.Choice(list(OBJECTIVES)), help="What is maximised [default: elbo].")
@schedule_options
@click.option("--form", type=FORM, help="Of the programs: path, or step, which is the slower definition.")
@click.option("--precision", type=PRECISION, help="Of an update's matrix products [default: float32].")
@click.option("--matmul-precision", type=MATMUL_PRECISION, help="Of an update's float32 products; high: TF32 on a GPU.")
@click.option("--checkpoint-segments", type=int, help="Cut time into so many segments, to train long sequences.")
@click.option("--num-particles", type=int, help="Particles of the test.")
@click.option("--eval-sequences", metavar="N|all", help="Test sequences to score.")
@click.option("--no-report", is_flag=True, help="Leave out report.html.")
@click.option("--log", type=LOG, help="Events for TensorBoard beside metrics.jsonl, in RUN/tensorboard.")
@TRUST
@VERBOSITY
def train(**options: Any) -> None:
    """Train a model, test it, and write the folder of the run with its report."""
    prepare_torch()
    if options["resumed"] is not None:
        source = click.get_current_context().get_parameter_source
        others = options.keys() - {"resumed", "no_report", "trust"}
        if any(source(name) == ParameterSource.COMMANDLINE for name in others):
            allowed = "--trust, --no-report, -v and -q"
            raise InputError(f"--resume takes no other option but {allowed}: the run's config.toml holds them all")
        carry_out(options["resumed"], lambda: resume(options["resumed"], say, trust=options["trust"]))
        if not options["no_report"]:
            report_run(options["resumed"], None, say)
        return
    config, chosen = configure(**{name: options[name] for name in ("dataset", "preset_name", "config_file", "device")})
    typed = requested(options)
    config = override(config, typed)
    require_own(config, options["config_file"], typed, trust=options["trust"])
    require_log(config)
    config = replace(config, device=choose_device(config.device))
    say(
        f"{headline(config)} on {config.dataset}: preset {config.preset} ({chosen}), device {config.device}, "
        f"seed {config.seed}"
    )
    if options["output"] is not None:
        runs.check_output(options["output"], force=options["force"])
    corpus = open_corpus(config, say, download=options["download"])
    config = replace(config, source=corpus.origin, data=corpus.settings)
    say(f"Data: {corpus.source}")
    trainer = prepare(config, corpus)
    folder = runs.create_folder(config, options["output"], force=options["force"])
    say(f"Run: {folder}")
    carry_out(folder, lambda: start(config, corpus, trainer, folder, say))
    if not options["no_report"]:
        report_run(folder, corpus, say)


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
@click.argument("run", type=FOLDER)
@click.option("--num-particles", type=int, help="K of the importance-weighted bound [default: as the run did].")
@click.option("--eval-sequences", metavar="N|all", help="Test sequences to score [default: as the run did].")
@click.option("--data", type=FOLDER, help="Where the run's data is now, if it has moved.")
@click.option("--form", type=FORM, help="Of the programs [default: as the run did].")
@click.option("--particle-filter", is_flag=True, help="Add the particle-filter bound (FIVO).")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@TRUST
@VERBOSITY
def evaluate(
    run: Path,
    num_particles: int | None,
    eval_sequences: str | None,
    data: Path | None,
    form: Form | None,
    particle_filter: bool,
    device: str,
    trust: bool,
) -> None:
    """Bound the likelihood of RUN's test split with K particles; writes RUN/evaluation-K.json and .npz."""
    prepare_torch()
    sequences, filters = count_or_all(eval_sequences), particle_filter or None
    results = evaluate_run(run, num_particles, sequences, device, data, form, filters, say, trust=trust)
    tell(results)
    say(f"Written: {run / evaluation_file(results['test']['num_particles'])}")


@click.command()
@click.option(
    "--sizes",
    type=click.Choice(["speech", "text", "pixels", "text-softmax", "evaluation", "families", "precision", "all"]),
    default="all",
    help="What to measure: training steps at some sizes, of every family or in every precision, or the evaluation.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=7, help="Rounds to take the median of.")
@click.option("--scaling", type=FOLDER, metavar="PNG", help="Measure over T and K instead, and draw that picture.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def benchmark(sizes: str, repeats: int, scaling: Path | None, device: str, as_json: bool) -> None:
    """Time a training step in both forms beside a plain PyTorch loop and a loop-free floor."""
    from zf_pyro.benchmark import report as measured

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


def carry_out(folder: Path, work: Callable[[], dict[str, Any]]) -> None:
    """Do the work of a run and say what came out."""
    try:
        tell(work())
    except (Interrupted, KeyboardInterrupt) as stop:
        message = "interrupted before anything was saved; start again"
        if (folder / runs.CONFIG).is_file():
            message = f"interrupted and saved; go on with: {going_on(folder)}"
        raise Interrupted(message, signal_of(stop)) from stop
    say(f"Written: {folder}")


def going_on(folder: Path) -> str:
    """The command that goes on with a run of this user's."""
    trust = " --trust" if runs.read_run(folder).model.own_parts else ""
    return f"python run.py --resume {folder}{trust}"


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


def tell(results: dict[str, Any]) -> None:
    """Print the outcome of a test."""
    for line in told(results):
        say(line)
