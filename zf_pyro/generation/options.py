"""The options that the commands which make sequences share, and the decoder that they ask for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

import click

from zf_pyro.errors import check
from zf_pyro.generation.decoder import Decoder, Kind
from zf_pyro.generation.posterior import DRAWS, How
from zf_pyro.generation.rollout import Latent
from zf_pyro.options import FOLDER, TRUST, VERBOSITY, with_options

RUN = click.argument("run", type=FOLDER)
FILE = click.option("--file", type=FOLDER, help="Take sequences of this file, as zf-pyro score reads it.")
DATA = click.option("--data", type=FOLDER, help="Where the run's data is now, if it has moved.")
PRIOR = click.option(
    "--latent", type=click.Choice(get_args(Latent)), default="draw", help="z_t: a draw from the prior, or its mean."
)
POSTERIOR = click.option(
    "--latent",
    type=click.Choice(get_args(How)),
    default="mean",
    help="z: the guide's mean, a draw of it, or of --draws draws the one of the greatest importance weight.",
)
PARTICLES = click.option(
    "--draws", type=click.IntRange(min=1), default=DRAWS, help=f"Draws of z that are weighed [default: {DRAWS}]."
)


def number(default: int, what: str) -> Any:
    """The option for the number of sequences."""
    kind = click.IntRange(1, 10_000)
    return click.option("-n", "--num", type=kind, default=default, help=f"{what} [default: {default}].")


decoding = with_options(
    [
        click.option("--decode", "kind", type=click.Choice(get_args(Kind)), help="How x_t is chosen."),
        click.option("--temperature", type=float, help="Of draws [default: 1]."),
        click.option("--top-k", type=int, help="Words: draw from the k most probable."),
        click.option("--width", type=int, help="Draws of best, hypotheses of beam [default: 10]."),
        click.option("--min-steps", type=int, help="Words: no end before so many."),
        click.option("--no-unk", "forbid_unknown", is_flag=True, default=None, help="Words: no <unk>."),
        click.option("--steps", type=click.IntRange(1, 1_000_000), help="Steps at most of each sequence."),
        click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of all draws [default: the run's]."),
        click.option("--output", type=FOLDER, help="The folder to write [default: beside the run, a new number]."),
        click.option("--force", is_flag=True, help="Overwrite what such a command wrote into --output."),
        click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N."),
        TRUST,
        VERBOSITY,
    ]
)
"""How sequences are decoded, and where they go."""


def decoder_of(options: dict[str, Any], default: Kind) -> Decoder:
    """The decoder that the options ask for.

    Raises:
        InputError: an option out of its range, or one that this kind of decoder does not know.
    """
    names = ("kind", "temperature", "top_k", "width", "min_steps", "forbid_unknown")
    asked = {"kind": default, **{name: options[name] for name in names if options[name] is not None}}
    several = asked["kind"] in ("best", "beam")
    check(several or "width" not in asked, f"--width is of best and beam, and not of {asked['kind']}")
    return Decoder(**asked)


def told_decoder(decoder: Decoder) -> dict[str, Any]:
    """The options of a decoder that its kind knows, for the JSON."""
    known = asdict(decoder)
    if decoder.kind in ("greedy", "beam"):
        del known["temperature"], known["top_k"]
    if decoder.kind in ("greedy", "sample"):
        del known["width"]
    return {"decode": known.pop("kind"), **known}
