"""``zf-pyro report``, and the report at the end of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import click

from zf_pyro import runs
from zf_pyro.console import say, warn
from zf_pyro.data.corpus import Corpus
from zf_pyro.errors import InputError, Interrupted, check, first_line, signal_of
from zf_pyro.files import explained, require_free, require_writable, write_text
from zf_pyro.options import FOLDER, TRUST, VERBOSITY
from zf_pyro.report.contents import of_one, of_several
from zf_pyro.report.material import Material, gather
from zf_pyro.report.page import page_of
from zf_pyro.report.results import lead, titles
from zf_pyro.scopes import prepare_torch
from zf_pyro.versions import versions


@click.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=FOLDER)
@click.option(
    "--output", type=FOLDER, help="The page to write [default: RUN/report.html; of several runs/report-N.html]."
)
@click.option("--force", is_flag=True, help="Overwrite --output.")
@click.option("--data", type=FOLDER, help="Where the data of a single RUN is now, if it has moved.")
@TRUST
@VERBOSITY
def report(folders: tuple[Path, ...], output: Path | None, force: bool, data: Path | None, trust: bool) -> None:
    """Write what finished RUNs have learnt as one page for a browser, that holds its pictures and sounds.

    A single run's page goes into its folder and is written anew each time.
    """
    prepare_torch()
    check(data is None or len(folders) == 1, "--data is of a single run")
    known = [folder.absolute().resolve() for folder in folders]
    check(len(set(known)) == len(known), "a run is named twice; name it once")
    path = checked_output(folders, output, force=force)
    materials = [gather(folder, say, data, trust=trust) for folder in folders]
    path = path or free_page()
    write_page(materials, path)
    say(f"Report: {path}")


def checked_output(folders: Sequence[Path], output: Path | None, *, force: bool) -> Path | None:
    """Where the page goes, found out beforehand to be a place that can be written; None where it is to be numbered.

    Raises:
        InputError: it is no such place, or holds another file.
    """
    if output is not None:
        return require_free(output, "--output", force=force)
    if len(folders) > 1:
        return None
    runs.read_settings(folders[0])
    require_writable(folders[0])
    return folders[0] / runs.REPORT


def free_page() -> Path:
    """The first of runs/report-1.html, runs/report-2.html, .. that is free.

    Raises:
        InputError: the folder cannot be made.
    """
    folder = Path("runs")
    with explained(f"cannot make the folder {folder.absolute()}"):
        folder.mkdir(exist_ok=True)
    require_writable(folder)
    return next(path for number in count(1) if not (path := folder / f"report-{number}.html").exists())


def write_page(materials: Sequence[Material], path: Path) -> None:
    """Write the page of one run, or that of several.

    Raises:
        InputError: it cannot be written.
    """
    if len(materials) == 1:
        (material,) = materials
        title, said, sections = material.name, lead(material), of_one(material)
    else:
        title = " and ".join(titles(list(materials))) if len(materials) == 2 else f"{len(materials)} runs"
        names = titles(list(materials))
        said = [f"{name}: {lead(material)[0]}" for name, material in zip(names, materials, strict=True)]
        sections = of_several(materials)
    made = f"Made by zf_pyro {versions()['zf_pyro']}: zf-pyro report"
    page = page_of(title, said, sections, made)
    with explained(f"cannot write {path}"):
        write_text(path, page)


def report_run(folder: Path, corpus: Corpus | None, say: Callable[[str], None]) -> None:
    """Write the page of a run that was just finished; where that fails, say so: the run is whole without it.

    The code that the run names was imported to train it.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM.
    """
    try:
        write_page([gather(folder, say, corpus=corpus, trust=True)], folder / runs.REPORT)
    except Exception as error:
        reason = first_line(error)
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        warn(f"no report: {kind}{reason}. The run is finished; try again by zf-pyro report {folder}")
    except KeyboardInterrupt as stop:
        message = f"interrupted; the run is finished; its report by: zf-pyro report {folder}"
        raise Interrupted(message, signal_of(stop)) from stop
    else:
        say(f"Report: {folder / runs.REPORT}")
