"""The command line: ``zf-pyro`` and ``run.py``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from click.core import ParameterSource

from zf_pyro import runs
from zf_pyro.config import Config, override
from zf_pyro.data.text import default_cache
from zf_pyro.errors import InputError
from zf_pyro.experiment import (
    Interrupted,
    choose_device,
    evaluate_run,
    evaluation_file,
    open_corpus,
    prepare,
    resume,
    start,
)
from zf_pyro.files import require_writable
from zf_pyro.paths import Form
from zf_pyro.presets import preset, read_config
from zf_pyro.scopes import prepare_torch
from zf_pyro.training import TrainingError

FOLDER = click.Path(path_type=Path)
FORM = click.Choice(["path", "step"])


def exit_with(command: click.Command) -> None:
    """Run a command and end the process: 0, 2 for a mistake of the user's, 1 for a failure, 130 where interrupted.

    A mistake or a failure prints one line on standard error.
    """
    try:
        command.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except (InputError, TrainingError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"error: {' '.join(message.split())}", err=True)
        sys.exit(1 if isinstance(error, TrainingError) else 2)
    except Interrupted as stop:
        click.echo(str(stop), err=True)
        sys.exit(130)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)


@click.group()
@click.version_option(package_name="zf_pyro")
def cli() -> None:
    """Stochastic recurrent networks by Z-Forcing, in Pyro."""


@cli.command()
@click.option("--dataset", help="The data set: imdb.")
@click.option("--data", type=FOLDER, help="Where it is; without it, the cache and the samples package are looked in.")
@click.option("--download", is_flag=True, help="Fetch the official archive into the cache first.")
@click.option("--preset", "preset_name", help="paper or quick [default: paper with a GPU, quick without].")
@click.option("--config", "config_file", type=FOLDER, help="Start from a config.toml instead of a preset.")
@click.option(
    "--resume", "resumed", type=FOLDER, metavar="RUN", help="Go on with an unfinished run; takes no other option."
)
@click.option("--output", type=FOLDER, help="The run's folder [default: runs/DATASET-PRESET-SEED-NUMBER].")
@click.option("--force", is_flag=True, help="Overwrite a run in --output.")
@click.option("--seed", type=int, help="Of initialisation, batches, noise and evaluation.")
@click.option("--device", default=None, help="auto, cpu, cuda or cuda:N [default: auto].")
@click.option("--max-steps", type=click.IntRange(min=1), help="Updates at most.")
@click.option("--epochs", type=int, help="Passes over the training split at most.")
@click.option("--batch-size", type=int, help="Sequences an update.")
@click.option("--alpha", type=float, help="Weight of the auxiliary term.")
@click.option("--beta", type=float, help="Weight of the backward language model.")
@click.option("--kl-start", type=float, help="Weight of the KL term at the first update.")
@click.option("--form", type=FORM, help="Of the programs: path, or step, which is the slower definition.")
@click.option("--num-particles", type=int, help="Particles of the test.")
@click.option("--eval-sequences", metavar="N|all", help="Test sequences to score.")
@click.option(
    "--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Any field of zf_pyro/config.py; may be repeated."
)
def train(**options: Any) -> None:
    """Train a model, test it, and write the folder of the run."""
    prepare_torch()
    if options["resumed"] is not None:
        source = click.get_current_context().get_parameter_source
        if any(source(name) == ParameterSource.COMMANDLINE for name in options if name != "resumed"):
            raise InputError("--resume takes no other option: the run's config.toml holds them all")
        carry_out(options["resumed"], lambda: resume(options["resumed"], click.echo))
        return
    config, chosen = configure(**{name: options[name] for name in ("dataset", "preset_name", "config_file", "device")})
    config = override(config, requested(options))
    config = replace(config, device=choose_device(config.device))
    click.echo(
        f"Z-Forcing on {config.dataset}: preset {config.preset} ({chosen}), device {config.device}, seed {config.seed}"
    )
    if options["output"] is not None:
        runs.check_output(options["output"], force=options["force"])
    click.echo(f"Reading the text; once read, it is kept in {default_cache()}")
    corpus = open_corpus(config, download=options["download"])
    config = replace(config, source=corpus.origin)
    click.echo(f"Text: {corpus.source}")
    trainer = prepare(config, corpus)
    folder = runs.create_folder(config, options["output"], force=options["force"])
    click.echo(f"Run: {folder}")
    carry_out(folder, lambda: start(config, corpus, trainer, folder, click.echo))


@cli.command()
@click.argument("run", type=FOLDER)
@click.option("--num-particles", type=int, help="K of the importance-weighted bound [default: as the run did].")
@click.option("--eval-sequences", metavar="N|all", help="Test sequences to score [default: as the run did].")
@click.option("--data", type=FOLDER, help="Where the run's text is now, if it has moved.")
@click.option("--form", type=FORM, help="Of the programs [default: as the run did].")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
def evaluate(
    run: Path,
    num_particles: int | None,
    eval_sequences: str | None,
    data: Path | None,
    form: Form | None,
    device: str,
) -> None:
    """Bound the likelihood of RUN's test split with K particles; writes RUN/evaluation-K.json."""
    prepare_torch()
    results = evaluate_run(run, num_particles, count_or_all(eval_sequences), device, data, form)
    report(results)
    click.echo(f"Written: {run / evaluation_file(results['test']['num_particles'])}")


@cli.command()
@click.option(
    "--sizes",
    type=click.Choice(["speech", "text", "pixels", "text-softmax", "evaluation", "all"]),
    default="all",
    help="What to measure: training steps at some sizes, or the evaluation.",
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
        if scaling.suffix != ".png":
            raise InputError(f"--scaling draws a .png, and {scaling} is named otherwise")
        require_writable(scaling.absolute().parent)
    say = partial(click.echo, err=as_json)
    names = list(measured.CHOICES) if sizes == "all" else [sizes]
    figures = (
        measured.benchmark(names, repeats, chosen, say)
        if scaling is None
        else measured.scaling(repeats, chosen, scaling, say)
    )
    if as_json:
        click.echo(json.dumps(figures, indent=2))


def configure(
    dataset: str | None, preset_name: str | None, config_file: Path | None, device: str | None
) -> tuple[Config, str]:
    """The configuration to start from, on its device, and how it was chosen."""
    if config_file is not None:
        if dataset or preset_name:
            raise InputError("--config names the data set and the preset itself; leave out --dataset and --preset")
        config = read_config(config_file)
        return replace(config, device=choose_device(device or config.device)), f"from {config_file}"
    if dataset is None:
        raise InputError("name a data set, --dataset imdb; --help lists the options")
    found = choose_device(device or "auto")
    chosen = "asked for" if preset_name else ("a GPU is there" if found.startswith("cuda") else "no GPU in use")
    name = preset_name or ("paper" if found.startswith("cuda") else "quick")
    return replace(preset(dataset, name), device=found), chosen


def requested(options: dict[str, Any]) -> dict[str, Any]:
    """The fields that the options set, by name; what --set says comes last."""
    names = ("seed", "max_steps", "epochs", "batch_size", "alpha", "beta", "kl_start", "form", "num_particles")
    values = {name: options[name] for name in names if options[name] is not None}
    if (sequences := count_or_all(options["eval_sequences"])) is not None:
        values["eval_sequences"] = sequences
    if options["data"] is not None:
        values["source"] = text_of(options["data"].absolute())
    elif options["download"]:
        values["source"] = ""
    for text in options["fields"]:
        name, separator, value = text.partition("=")
        if not separator:
            raise InputError(f"--set takes FIELD=VALUE, not {text!r}")
        values[name.strip()] = value.strip()
    return values


def count_or_all(text: str | None) -> int | None:
    """A number of sequences: at least 1, or "all", which is 0; None where nothing was said."""
    if text is None:
        return None
    if text == "all":
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text)):
        raise InputError(f"--eval-sequences takes a number of sequences or all, not {text[:20]!r}")
    return int(text)


def text_of(path: Path) -> str:
    """A path as text for config.toml.

    Raises:
        InputError: its name is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"--data: the name {str(path)!r} is not UTF-8; rename it") from error
    return str(path)


def carry_out(folder: Path, work: Callable[[], dict[str, Any]]) -> None:
    """Do the work of a run and say what came out."""
    try:
        report(work())
    except (Interrupted, KeyboardInterrupt) as stop:
        if not (folder / runs.CHECKPOINT).is_file():
            raise Interrupted("interrupted before anything was saved; start again") from stop
        raise Interrupted(f"interrupted and saved; go on with: python run.py --resume {folder}") from stop
    click.echo(f"Written: {folder}")


def report(results: dict[str, Any]) -> None:
    """Print the outcome of a test, each figure with its unit and protocol."""
    test = results["test"]
    k, n = test["num_particles"], test["num_sequences"]
    click.echo(f"Test, {n:,} sentences, {test['num_steps']:,} tokens with </s>, {k} particles, gamma = 1:")
    click.echo(f"  ELBO      {test['elbo']:9.3f} +- {test['elbo_se']:.3f} nats per sentence (KL {test['kl']:.3f})")
    click.echo(f"  IW bound  {test['iw_bound']:9.3f} +- {test['iw_bound_se']:.3f} nats per sentence")
    click.echo(
        f"  perplexity at most {test['perplexity']:.2f} by the IW bound, {test['perplexity_elbo']:.2f} by the ELBO; "
        f"unigram model {test['unigram_perplexity']:.2f}"
    )


def main() -> None:
    """Entry point of ``zf-pyro``."""
    exit_with(cli)
