"""``zf-pyro score``, ``zf-pyro encode`` and ``zf-pyro latents``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from zf_pyro import runs
from zf_pyro.console import say
from zf_pyro.errors import check
from zf_pyro.evaluation import shown
from zf_pyro.experiment import identity
from zf_pyro.files import explained, require_free, require_writable, write_text
from zf_pyro.inspection import encode as encoding
from zf_pyro.inspection.picture import plot_usage
from zf_pyro.inspection.reading import everything, in_file_order, read_for
from zf_pyro.inspection.report import told
from zf_pyro.inspection.score import score_file
from zf_pyro.inspection.usage import figures, usage_of
from zf_pyro.metrics import to_json
from zf_pyro.opening import corpus_at, loaded
from zf_pyro.options import FOLDER, TRUST, VERBOSITY, count_or_all
from zf_pyro.scopes import prepare_torch

DEVICE = click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
PARTICLES = click.option("--num-particles", type=int, help="K of the bounds [default: as the run did].")
FORCE = click.option("--force", is_flag=True, help="Overwrite --output.")


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("file", type=FOLDER)
@PARTICLES
@click.option("--output", type=FOLDER, help="The CSV to write [default: FILE-scores.csv, here].")
@FORCE
@DEVICE
@TRUST
@VERBOSITY
def score(
    run: Path, file: Path, num_particles: int | None, output: Path | None, force: bool, device: str, trust: bool
) -> None:
    """Bound the likelihood of every sequence of FILE under RUN's model; writes a CSV."""
    prepare_torch()
    output = require_free(output or beside(file, "scores.csv"), "--output", force=force)
    found = loaded(run, num_particles, None, device, trust=trust)
    given = read_for(found, file, say)
    for remark in given.remarks:
        say(f"Note: {remark}")
    score_file(found, given, file, output, say)
    say(f"Written: {output}")


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("file", type=FOLDER)
@click.option("--output", type=FOLDER, help="The .npz to write [default: FILE-latents.npz, here].")
@click.option("--encoding", "with_encoding", is_flag=True, help="Write the states of the guide's encoder, too.")
@FORCE
@DEVICE
@TRUST
@VERBOSITY
def encode(
    run: Path, file: Path, output: Path | None, with_encoding: bool, force: bool, device: str, trust: bool
) -> None:
    """Write the means and scales of z_1 .. z_T for every sequence of FILE, as an .npz."""
    prepare_torch()
    output = require_free(output or beside(file, "latents.npz"), "--output", force=force)
    found = loaded(run, None, None, device, trust=trust)
    check(found.config.model.family != "rnn", "the family rnn has no latent variable")
    guide = encoding.require_means(found.guide, with_encoding=with_encoding)
    given = read_for(found, file, say)
    for remark in given.remarks:
        say(f"Note: {remark}")
    batches = shown("Encoding", given.split, everything(given), found.observation)
    encoded, exact = encoding.encode(guide, batches, seed=found.config.seed)
    about = encoding.protocol(exact=exact)
    ordered = in_file_order(encoded, given)
    encoding.write_encoded(output, given.names, ordered, about, with_encoding=with_encoding)
    steps = sum(len(each.mean) for each in ordered)
    say(f"{file}: {len(ordered):,} {found.observation.sequence}s, {steps:,} {found.observation.step}s: {about}")
    say(f"Written: {output}")


@click.command()
@click.argument("run", type=FOLDER)
@PARTICLES
@click.option("--eval-sequences", metavar="N|all", help="Test sequences to look at [default: as the run did].")
@click.option("--data", type=FOLDER, help="Where the run's data is now, if it has moved.")
@DEVICE
@TRUST
@VERBOSITY
def latents(
    run: Path, num_particles: int | None, eval_sequences: str | None, data: Path | None, device: str, trust: bool
) -> None:
    """Tell whether RUN uses its latent variable, on its test split; writes RUN/latents.json and latents.png."""
    prepare_torch()
    found = loaded(run, num_particles, count_or_all(eval_sequences), device, trust=trust)
    check(found.config.model.family != "rnn", "the family rnn has no latent variable")
    require_writable(run)
    corpus = corpus_at(found.config, run, data, say)
    results = {**identity(found.config, corpus), "latents": figures(usage_of(found, corpus))}
    for line in told(results):
        say(line)
    with explained(f"cannot write into {run}"):
        write_text(run / runs.LATENTS, to_json(results, indent=2) + "\n")
        plot_usage(results, run / runs.LATENTS_PICTURE)
    say(f"Written: {run / runs.LATENTS}, {run / runs.LATENTS_PICTURE}")


def beside(file: Path, ending: str) -> Path:
    """The name of what is made of a file, in the folder of work."""
    name = os.path.basename(os.path.abspath(file)).lstrip(".").removesuffix(".gz").removesuffix(".xz")
    return Path(f"{Path(name).stem}-{ending}")
