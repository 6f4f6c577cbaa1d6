"""``zf-pyro compare``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from zf_pyro.compare.report import report_folder, told, write_report
from zf_pyro.compare.rows import Row, grouped
from zf_pyro.compare.tested import all_tested, read_finished
from zf_pyro.compare.training import rows_of_sweep, sweep_folder, train_all
from zf_pyro.console import say
from zf_pyro.devices import choose_device
from zf_pyro.errors import Interrupted, TrainingError, check, signal_of
from zf_pyro.events import require_log
from zf_pyro.files import explained, require_writable
from zf_pyro.imported import require_trust
from zf_pyro.options import FOLDER, SETTINGS, TRUST, VERBOSITY, assigned, count_or_all
from zf_pyro.scopes import prepare_torch
from zf_pyro.sweep import Member, check_all, open_all, read_sweep


@click.command()
@click.argument("runs", nargs=-1, type=FOLDER)
@click.option("--sweep", type=FOLDER, metavar="FILE.toml", help="Make the runs of this file first, or go on with them.")
@click.option("--data", type=FOLDER, help="With --sweep: where the data is, if not where the file says.")
@SETTINGS
@click.option("--smoke", is_flag=True, help="With --sweep: try every row in a minute, by two updates of one seed.")
@click.option("--output", type=FOLDER, help="The folder to write [default: runs/FILE, or runs/comparison-NUMBER].")
@click.option("--force", is_flag=True, help="Overwrite the comparison of other RUNs in --output.")
@click.option("--num-particles", type=click.IntRange(min=1), help="K of the bound [default: as the first run did].")
@click.option("--eval-sequences", metavar="N|all", help="Test sequences to score [default: as the first run did].")
@click.option("--device", default="auto", help="For runs that are tested again: auto, cpu, cuda or cuda:N.")
@TRUST
@VERBOSITY
def compare(
    runs: tuple[Path, ...],
    sweep: Path | None,
    data: Path | None,
    fields: tuple[str, ...],
    smoke: bool,
    output: Path | None,
    force: bool,
    num_particles: int | None,
    eval_sequences: str | None,
    device: str,
    trust: bool,
) -> None:
    """Compare finished RUNs, or the runs of a sweep, on the same test sequences; writes comparison.md, .csv and .png.

    A sweep's runs are made first. Interrupted, it goes on where it was: by the same command.
    """
    prepare_torch()
    check(bool(runs) != (sweep is not None), "name finished runs, or by --sweep a file that says which to make")
    check(sweep is not None or not (data or fields or smoke), "--data, --set and --smoke are for the runs of a --sweep")
    options = (num_particles, count_or_all(eval_sequences), choose_device(device))
    if sweep is None:
        folder, rows = of_runs(runs, output, options, force=force, trust=trust)
        failures = 0
    else:
        folder = output or sweep_folder(sweep, smoke=smoke)
        with goes_on():
            members = read_sweep(sweep, folder, data, assigned(fields), smoke=smoke)
            rows, failures = of_sweep(sweep, members, folder, options, trust=trust)
    for line in told(rows):
        say(line)
    write_report(rows, folder)
    say(f"Written: {folder}")
    if failures:
        raise TrainingError(f"{failures} of {failures + sum(len(row.runs) for row in rows)} runs failed")


Options = tuple[int | None, int | None, str]


def of_runs(
    folders: Sequence[Path], output: Path | None, options: Options, *, force: bool, trust: bool
) -> tuple[Path, list[Row]]:
    """The folder of a comparison of finished runs, and its rows."""
    finished = [read_finished(folder) for folder in folders]
    made = None if output is None else report_folder(output, force=force)
    rows = grouped(all_tested(finished, *options, say, trust=trust))
    return made or report_folder(None, force=force), rows


def of_sweep(
    path: Path, members: list[Member], folder: Path, options: Options, *, trust: bool
) -> tuple[list[Row], int]:
    """The rows of a sweep, its runs made or gone on with, and how many of them failed."""
    for member in members:
        require_trust(member.config.model.own_parts, path, trust=trust)
        require_log(member.config)
    say(f"{path}: {len(members)} runs into {folder}")
    pairs = open_all(members, say)
    check_all(pairs)
    with explained(f"cannot make the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    require_writable(folder)
    failed = train_all(pairs, say, trust=trust)
    settled = [member for member, _ in pairs]
    return rows_of_sweep(settled, failed, *options, say, trust=trust), len(failed)


@contextmanager
def goes_on() -> Iterator[None]:
    """An interruption inside says how to go on."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stop:
        message = f"interrupted; what is done is saved; go on with the same command: zf-pyro {shlex.join(sys.argv[1:])}"
        raise Interrupted(message, signal_of(stop)) from stop
