"""The runs of a sweep, one after the other: what is finished is kept, what was begun is gone on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from zf_pyro import runs
from zf_pyro.compare.rows import Row
from zf_pyro.compare.tested import all_tested, read_finished
from zf_pyro.console import warn
from zf_pyro.data.corpus import Corpus
from zf_pyro.errors import TrainingError
from zf_pyro.experiment import prepare, resume, start
from zf_pyro.sweep import Member, state_of

Say = Callable[[str], None]


def train_all(pairs: Sequence[tuple[Member, Corpus]], say: Say, *, trust: bool = False) -> list[Member]:
    """Finish every run; returns those that failed.

    Args:
        pairs: the runs and their data.
        say: is told what a user should know.
        trust: go on with runs whose config.toml names code.

    Raises:
        Interrupted: on request; the run in hand is saved.
        InputError: data or a folder cannot be read or written any more, or a folder holds another run.
    """
    failed = []
    for number, (member, corpus) in enumerate(pairs, 1):
        state = state_of(member, corpus)
        say(f"[{number}/{len(pairs)}] {member.title}: {'finished already' if state == 'finished' else member.folder}")
        try:
            if state == "saved":
                resume(member.folder, say, corpus, trust=trust)
            elif state != "finished":
                trainer = prepare(member.config, corpus)
                start(member.config, corpus, trainer, runs.make_folder(member.folder), say)
        except TrainingError as error:
            warn(f"{member.title} failed: {error}")
            failed.append(member)
    return failed


def rows_of_sweep(
    members: Sequence[Member],
    failed: Sequence[Member],
    num_particles: int | None,
    eval_sequences: int | None,
    device: str,
    say: Say,
    *,
    trust: bool = False,
) -> list[Row]:
    """The runs of a sweep as rows, in the order of its file; options as of `all_tested`.

    Raises:
        TrainingError: all runs have failed.
        InputError: as `all_tested`.
    """
    done = [member for member in members if member not in failed]
    if not done:
        raise TrainingError(f"all {len(failed)} runs have failed")
    finished = [read_finished(member.folder) for member in done]
    outcomes = all_tested(finished, num_particles, eval_sequences, device, say, trust=trust)
    tested = dict(zip((m.folder for m in done), outcomes, strict=True))
    rows = []
    for name in dict.fromkeys(member.name for member in members):
        own = [member for member in members if member.name == name]
        present = [tested[member.folder] for member in own if member.folder in tested]
        rows.append(Row(name, present, [member.config.seed for member in own if member in failed]))
    return rows


def sweep_folder(path: Path, *, smoke: bool) -> Path:
    """Where the runs of a sweep, or of its trial, go by default."""
    return Path("runs") / (f"{path.stem}-smoke" if smoke else path.stem)
