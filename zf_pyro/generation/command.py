"""``zf-pyro sample``, ``continue``, ``reconstruct`` and ``interpolate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from zf_pyro.console import say
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.errors import check
from zf_pyro.generation import options as opt
from zf_pyro.generation.decoder import Decoder, Kind
from zf_pyro.generation.decoding import decode
from zf_pyro.generation.interpolation import Mixing, interpolate, shares_of
from zf_pyro.generation.output import Made, Place, place_for, told, write
from zf_pyro.generation.posterior import How, require_posterior, require_programs
from zf_pyro.generation.reconstruction import WORDS, continue_prefix, prefix_of, reconstruct, singly
from zf_pyro.generation.rollout import Latent
from zf_pyro.generation.sources import numbered, source_of, typed
from zf_pyro.opening import loaded
from zf_pyro.options import FOLDER
from zf_pyro.runs import LoadedRun
from zf_pyro.scopes import prepare_torch


class Session:
    """What the four commands begin and end with: the run, the decoder and the seed, and where the outcome goes.

    Args:
        folder: the run.
        what: is made of it, as a word.
        default: the kind of decoder where none is asked for.
        options: of `zf_pyro.generation.options.decoding`.
    """

    def __init__(self, folder: Path, what: str, default: Kind, options: dict[str, Any]) -> None:
        prepare_torch()
        self.folder, self.what = folder, what
        self.decoder: Decoder = opt.decoder_of(options, default)
        self.place: Place = place_for(folder, what, options["output"], force=options["force"])
        self.run: LoadedRun = loaded(folder, None, None, options["device"], trust=options["trust"])
        self.decoder.require_fit(self.run.observation)
        self.seed: int = self.run.config.seed if options["seed"] is None else options["seed"]
        self.steps: int | None = options["steps"]

    def is_read(self, file: Path | None) -> bool:
        """Whether sequences are named by their numbers in a file or the test split, and not typed."""
        return self.run.vocabulary is None or file is not None

    def named(self, names: list[str], file: Path | None, data: Path | None) -> list[SequenceBatch]:
        """The sequences that a user names: sentences, or numbers of them.

        Raises:
            InputError: there is no such sequence.
        """
        if not self.is_read(file):
            return [typed(self.run, name, say) for name in names]
        places = [numbered(name) for name in names]
        source = source_of(self.run, self.folder, file, data, say)
        return [source.one(place) for place in places]

    def begun(
        self, prefix: str | None, steps: int | None, file: Path | None, data: Path | None
    ) -> tuple[SequenceBatch, int]:
        """The sequence that holds a prefix, and how many steps of it that is: all of a typed one, else half.

        Raises:
            InputError: there is no such sequence, or it has fewer steps.
        """
        read = self.is_read(file)
        check(read or prefix is not None, 'name the beginning of a sentence: zf-pyro continue RUN "this movie is"')
        (one,) = self.named(["0" if prefix is None else prefix], file, data)
        if steps is None and read:
            steps = one.num_steps // 2
        return one, prefix_of(self.run, one, steps).num_steps

    def end_of(self, one: SequenceBatch, kept: int) -> int:
        """How many steps a continuation has with its prefix."""
        if self.run.vocabulary is None:
            return max(one.num_steps, kept + 1)
        return kept + max(WORDS, self.run.observation.sample_steps)

    def end(self, made: list[Made], **about: Any) -> None:
        """Tell what was made, and write it.

        Raises:
            InputError: it cannot be written.
        """
        for line in told(made, self.run):
            say(line)
        said = {
            "made": self.what,
            "run": str(self.folder),
            "seed": self.seed,
            **opt.told_decoder(self.decoder),
            **about,
        }
        say(f"Written: {write(made, self.place, self.run, said)}")


@click.command()
@opt.RUN
@opt.number(10, "Sequences")
@opt.PRIOR
@opt.decoding
def sample(run: Path, num: int, latent: Latent, **options: Any) -> None:
    """Draw sequences from RUN's prior."""
    session = Session(run, "sample", "sample", options)
    steps = session.steps or session.run.observation.sample_steps
    found = decode(session.run, steps, session.decoder, count=num, latent=latent, seed=session.seed)
    session.end([Made.of(str(i), each) for i, each in enumerate(found, 1)], latent=latent)


@click.command("continue")
@opt.RUN
@click.argument("prefix", required=False)
@click.option("--prefix-steps", type=click.IntRange(min=0), help="Steps of the sequence to keep [default: half].")
@opt.number(5, "Continuations")
@opt.PRIOR
@opt.PARTICLES
@opt.FILE
@opt.DATA
@opt.decoding
def go_on(
    run: Path,
    prefix: str | None,
    prefix_steps: int | None,
    num: int,
    latent: Latent,
    draws: int,
    file: Path | None,
    data: Path | None,
    **options: Any,
) -> None:
    """Continue PREFIX: the beginning of a sentence, or the number of a sequence [default: 0] of RUN's test split."""
    session = Session(run, "continuation", "sample", options)
    require_programs(session.run)
    one, kept = session.begun(prefix, prefix_steps, file, data)
    found = continue_prefix(
        session.run,
        one,
        session.steps or session.end_of(one, kept),
        session.decoder,
        prefix_steps=kept,
        count=num,
        draws=draws,
        latent=latent,
        seed=session.seed,
    )
    if found.effective is not None:
        say(f"The weights of the prefix's {draws} paths are worth {found.effective:.1f} draws")
    made = [Made.original("original", session.run, one)] if session.is_read(file) else []
    made += [Made.of(str(i), each) for i, each in enumerate(found.sequences, 1)]
    session.end(made, latent=latent, draws=draws, prefix_steps=kept, effective_draws=found.effective)


@click.command("reconstruct")
@opt.RUN
@click.argument("file", type=FOLDER, required=False)
@opt.number(5, "The first so many sequences")
@opt.POSTERIOR
@opt.PARTICLES
@click.option("--teacher-forced", is_flag=True, help="u_t is the sequence's own, not what was decoded before.")
@opt.DATA
@opt.decoding
def rebuild(
    run: Path,
    file: Path | None,
    num: int,
    latent: How,
    draws: int,
    teacher_forced: bool,
    data: Path | None,
    **options: Any,
) -> None:
    """Decode sequences of FILE [default: of RUN's test split] from their own latent paths."""
    session = Session(run, "reconstruction", "greedy", options)
    require_posterior(session.run)
    source = source_of(session.run, run, file, data, say)
    places = source.places(num)
    if len(places) < num:
        say(f"Note: {source.name} has {len(places)} {session.run.observation.sequence}s, and not {num}")
    made = []
    for place in places:
        for one in singly(source.one(place)):
            (found,) = reconstruct(
                session.run,
                one,
                session.decoder,
                how=latent,
                draws=draws,
                teacher_forced=teacher_forced,
                num_steps=session.steps,
                seed=session.seed,
            )
            made.append(Made.original(f"{place} original", session.run, one))
            made.append(Made.of(f"{place} decoded", found, number_in_source=place))
    session.end(made, latent=latent, draws=draws, teacher_forced=teacher_forced, source=source.name)


@click.command("interpolate")
@opt.RUN
@click.argument("start")
@click.argument("end")
@opt.number(11, "Points, both ends included")
@click.option("--kind", "mixing", type=click.Choice(get_args(Mixing)), default="linear", help="Of the mix of z.")
@opt.POSTERIOR
@opt.PARTICLES
@opt.FILE
@opt.DATA
@opt.decoding
def between(
    run: Path,
    start: str,
    end: str,
    num: int,
    mixing: Mixing,
    latent: How,
    draws: int,
    file: Path | None,
    data: Path | None,
    **options: Any,
) -> None:
    """Decode the latent paths between those of START and END: sentences, or numbers of sequences of the test split."""
    session = Session(run, "interpolation", "greedy", options)
    require_posterior(session.run)
    shares = shares_of(num)
    first, second = session.named([start, end], file, data)
    found = interpolate(
        session.run,
        first,
        second,
        num,
        session.decoder,
        kind=mixing,
        how=latent,
        draws=draws,
        num_steps=session.steps,
        seed=session.seed,
    )
    made = [Made.of(f"{share:.3g}", each, share=share) for share, each in zip(shares, found, strict=True)]
    ends = [Made.original(name, session.run, one) for name, one in (("start", first), ("end", second))]
    session.end([ends[0], *made, ends[1]], kind=mixing, latent=latent, draws=draws, start=start, end=end)
