"""The commands that train a run and test it, in one process or in several: train, evaluate."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from zf_pyro import ranks, runs
from zf_pyro.config import Config
from zf_pyro.console import say
from zf_pyro.data.corpus import Corpus
from zf_pyro.data.datasets import DATASETS
from zf_pyro.devices import choose_device
from zf_pyro.errors import InputError, Interrupted, check, signal_of
from zf_pyro.events import require_log
from zf_pyro.experiment import evaluate_run, evaluation_file, prepare, resume, start
from zf_pyro.fields import override
from zf_pyro.figures import told
from zf_pyro.opening import open_corpus
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
from zf_pyro.paths import Form
from zf_pyro.precision import MatmulPrecision, Precision
from zf_pyro.processes import connected, from_first, is_first, require_same, world_size
from zf_pyro.report.command import report_run
from zf_pyro.scopes import prepare_torch
from zf_pyro.sweep import Member, state_of

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
@click.option("--auto-resume", is_flag=True, help="Go on with the run in --output where it has been begun.")
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
        require_alone(options)
        folder = options["resumed"]
        with connected(choose_device(runs.read_run(folder).device)):
            carry_out(folder, lambda: resume(folder, say, trust=options["trust"]))
        report(folder, None, options)
        return
    config, chosen = configure(**{name: options[name] for name in ("dataset", "preset_name", "config_file", "device")})
    typed = requested(options)
    config = override(config, typed)
    require_own(config, options["config_file"], typed, trust=options["trust"])
    require_log(config)
    if options["auto_resume"]:
        check(options["output"] is not None, "--auto-resume needs the run's folder: --output")
        check(not options["force"], "--auto-resume goes on with a run, and --force overwrites it; leave one out")
    config = replace(config, device=choose_device(config.device))
    with connected(config.device):
        say(
            f"{headline(config)} on {config.dataset}: preset {config.preset} ({chosen}), device {config.device}, "
            f"seed {config.seed}{among()}"
        )
        folder, corpus = begin(config, options)
    report(folder, corpus, options)


def begin(config: Config, options: dict[str, Any]) -> tuple[Path, Corpus]:
    """Train by a configuration, in a new folder, or with --auto-resume in one where that run is."""
    output, again = options["output"], options["auto_resume"]
    if output is not None and is_first() and not again:
        runs.check_output(output, force=options["force"])
    corpus = open_corpus(config, say, download=options["download"])
    config = replace(config, source=corpus.origin, data=corpus.settings)
    require_same("the settings", repr(replace(config, source="")))
    say(f"Data: {corpus.source}")
    state = "new"
    if again and is_first():
        state = state_of(Member(config.dataset, config, output, any_device=True), corpus)
    state = from_first(state.encode()).decode()
    if state == "finished":
        say(f"Finished already: {output}")
        options["no_report"] |= (output / runs.REPORT).is_file()
        return output, corpus
    if state == "saved":  # by the settings that were typed, so that the code that they name may be imported
        carry_out(output, lambda: resume(output, say, corpus, trust=True))
        return output, corpus
    trainer = prepare(config, corpus)
    made = b""
    if is_first():
        made = os.fsencode(
            runs.make_folder(output) if again else runs.create_folder(config, output, force=options["force"])
        )
    folder = Path(os.fsdecode(from_first(made)))
    say(f"Run: {folder}")
    carry_out(folder, lambda: start(config, corpus, trainer, folder, say))
    return folder, corpus


def report(folder: Path, corpus: Corpus | None, options: dict[str, Any]) -> None:
    """Write the page of a run, unless that was declined: by the first process, no longer connected to others."""
    if ranks.is_first() and not options["no_report"]:
        report_run(folder, corpus, say)


def among() -> str:
    """How many processes are at work, where it is not one."""
    return f", {world_size()} processes" if world_size() > 1 else ""


def require_alone(options: dict[str, Any]) -> None:
    """Refuse other options beside --resume.

    Raises:
        InputError: there is one.
    """
    source = click.get_current_context().get_parameter_source
    others = options.keys() - {"resumed", "no_report", "trust"}
    if any(source(name) == ParameterSource.COMMANDLINE for name in others):
        allowed = "--trust, --no-report, -v and -q"
        raise InputError(f"--resume takes no other option but {allowed}: the run's config.toml holds them all")


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
    with connected(choose_device(device)):
        results = evaluate_run(run, num_particles, sequences, device, data, form, filters, say, trust=trust)
        tell(results)
        say(f"Written: {run / evaluation_file(results['test']['num_particles'])}")


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


def tell(results: dict[str, Any]) -> None:
    """Print the outcome of a test."""
    for line in told(results):
        say(line)
