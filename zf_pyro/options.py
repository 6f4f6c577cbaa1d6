"""Options that commands share, and the way from them to a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from zf_pyro.config import Config
from zf_pyro.console import Verbosity, speaking
from zf_pyro.devices import choose_device
from zf_pyro.errors import InputError, check
from zf_pyro.imported import require_trust
from zf_pyro.parts import FAMILIES
from zf_pyro.presets import PRESETS, preset, read_config

SCHEDULE = "NUMBER|SCHEDULE"
FOLDER = click.Path(path_type=Path)
Command = Callable[..., None]
TRUST = click.option("--trust", is_flag=True, help="Import the code that a file of the run names; it may do anything.")

NAMED = (
    *("seed", "max_steps", "epochs", "batch_size", "alpha", "beta", "gamma", "kl_start", "learning_rate", "form"),
    *("precision", "matmul_precision", "checkpoint_segments", "log"),
    *("num_particles", "level", "binarize", "protocol", "objective"),
    *("family", "guide", "prior", "transition", "emission_law"),
)
"""The fields that have options of their own."""


def with_options(options: list[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """A decorator that gives a command some options, in their order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def choose_verbosity(context: click.Context, option: click.Parameter, given: bool) -> None:
    """Let a command say as much as its option asks for, until it ends.

    Raises:
        InputError: the other option is given, too.
    """
    if given:
        check("verbosity" not in context.meta, "-v and -q contradict each other; leave one out")
        context.meta["verbosity"] = {"verbose": Verbosity.VERBOSE, "quiet": Verbosity.QUIET}[str(option.name)]
        context.with_resource(speaking(context.meta["verbosity"]))


def verbosity_option(*names: str, text: str) -> Callable[[Command], Command]:
    """One of the two options."""
    return click.option(*names, is_flag=True, expose_value=False, callback=choose_verbosity, help=text)


VERBOSITY = with_options(
    [
        verbosity_option("-v", "--verbose", text="Tell sizes, settings, validations and checkpoints, too."),
        verbosity_option("-q", "--quiet", text="Say nothing but warnings and errors."),
    ]
)
"""How much a command says."""

SETTINGS = click.option(
    "--set",
    "fields",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Any field of zf_pyro/config.py, or of the data set's settings; may be repeated.",
)

data_options = with_options(
    [
        click.option("--data", type=FOLDER, help="Where it is [default for imdb: the cache, or the samples package]."),
        click.option("--download", is_flag=True, help="imdb: fetch the official archive into the cache first."),
        click.option("--level", type=click.Choice(["word", "char"]), help="Text: what a token is."),
        click.option(
            "--binarize",
            type=click.Choice(["auto", "fixed", "dynamic", "threshold"]),
            help="Images: the fixed set, drawn anew each epoch, or cut at half of the intensity [default: auto].",
        ),
        click.option(
            "--protocol",
            type=click.Choice(["utterance", "srnn"]),
            help="timit: rows inside utterances, or of the stream that SRNN's authors published [default: utterance].",
        ),
        SETTINGS,
    ]
)
"""The options that say where data is and how it is read."""

part_options = with_options(
    [
        click.option("--family", metavar="NAME", help=f"The model: {', '.join(FAMILIES)} [default: zforcing]."),
        click.option(
            "--guide", metavar="NAME", help="The inference network [default: the family's]; see zf-pyro parts."
        ),
        click.option("--prior", metavar="NAME", help="The law of z_t, likewise."),
        click.option("--transition", metavar="NAME", help="The recurrent network, likewise."),
        click.option("--emission-law", metavar="NAME", help="The law of x_t [default: the data's]; see zf-pyro parts."),
    ]
)
"""The options that name the parts of model and guide."""

schedule_options = with_options(
    [
        click.option("--alpha", metavar=SCHEDULE, help="Weight of the auxiliary term; schedules: see zf-pyro parts."),
        click.option("--beta", metavar=SCHEDULE, help="Weight of the backward language model."),
        click.option("--gamma", metavar=SCHEDULE, help="Weight of the KL term [default: by --kl-start]."),
        click.option("--kl-start", type=float, help="Weight of the KL term at the first update."),
        click.option("--learning-rate", metavar=SCHEDULE, help="Adam's, before any halving."),
    ]
)
"""The options whose values may change with the number of updates."""


def headline(config: Config) -> str:
    """What a run is of: Z-Forcing, or the parts that were chosen instead, and the weights of the added terms."""
    model, objective = config.model, config.objective
    parts = {"guide": model.guide, "prior": model.prior, "transition": model.transition, "emission": model.emission_law}
    chosen = [f"{name} {part}" for name, part in parts.items() if part]
    chosen += [f"objective {objective.objective}"] if objective.objective != "elbo" else []
    if model.family == "zforcing" and not chosen:
        return "Z-Forcing"
    weights = [f"{name} {objective.weights[name].text}" for name in ("alpha", "beta")]
    return ", ".join([model.family, *chosen, *weights])


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
        raise InputError(f"name a data set by --dataset: {', '.join(PRESETS)}")
    found = choose_device(device or "auto")
    chosen = "asked for" if preset_name else ("a GPU is there" if found.startswith("cuda") else "no GPU in use")
    name = preset_name or ("paper" if found.startswith("cuda") else "quick")
    return replace(preset(dataset, name), device=found), chosen


def require_own(config: Config, config_file: Path | None, typed: Mapping[str, Any], *, trust: bool) -> None:
    """Refuse code that is named by a file; what was typed in this call is its user's own.

    Args:
        config: the configuration, with what was typed.
        config_file: what it started from; None for a preset.
        typed: the fields that the options set, by name.
        trust: whether the file's code may be imported.

    Raises:
        InputError: it may not.
    """
    if config_file is not None:
        parts = {name: part for name, part in config.model.own_parts.items() if name not in typed}
        require_trust(parts, config_file, trust=trust)


def requested(options: dict[str, Any]) -> dict[str, Any]:
    """The fields that the options set, by name; what --set says comes last."""
    values = {name: options[name] for name in NAMED if options.get(name) is not None}
    if (sequences := count_or_all(options.get("eval_sequences"))) is not None:
        values["eval_sequences"] = sequences
    if options["data"] is not None:
        values["source"] = text_of(str(options["data"].absolute()), "--data")
    elif options["download"]:
        values["source"] = ""
    return values | assigned(options["fields"])


def assigned(texts: Iterable[str]) -> dict[str, str]:
    """What --set says, by field.

    Raises:
        InputError: one of the texts is no FIELD=VALUE.
    """
    values = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise InputError(f"--set takes FIELD=VALUE, not {text!r}")
        values[name.strip()] = text_of(value.strip(), "--set")
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


def text_of(text: str, option: str) -> str:
    """The text itself, for config.toml.

    Raises:
        InputError: it is not UTF-8, as the name of a file may be.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{option}: the name {text!r} is not UTF-8; rename it") from error
    return text
