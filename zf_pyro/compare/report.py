"""A comparison in words, as a table for the terminal and for Markdown, and as CSV.

comparison.md         the protocol, the table, and what its figures are
comparison.csv        a line for each row of the table, its figures in full
comparison-runs.csv   a line for each run
comparison.png        bounds, and validation curves
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zf_pyro.compare.picture import plot_comparison
from zf_pyro.compare.rows import Row, paired, standard_error
from zf_pyro.compare.tested import Outcome
from zf_pyro.errors import InputError
from zf_pyro.files import explained, require_writable, write_text
from zf_pyro.latents import ACTIVE
from zf_pyro.runs import numbered_folder
from zf_pyro.tables import aligned, markdown

FILES = ("comparison.md", "comparison.csv", "comparison-runs.csv", "comparison.png")
"""What a comparison writes into its folder."""

Figures = Mapping[str, Any]


def figures_of(row: Row, first: Row | None) -> dict[str, Any]:
    """The figures of a row by name; those of a row without runs None, and so is the first row's difference.

    Args:
        row: of the table.
        first: the row that the others are compared with; None where there is none.
    """
    known: dict[str, Any] = {"name": row.name, "seeds": " ".join(str(run.seed) for run in row.runs)}
    known["failed_seeds"] = " ".join(map(str, row.failed))
    if not row.runs:
        return {**known, **dict.fromkeys(NUMBERS)}
    gap, gap_se = (None, None) if first is None or row is first else paired(row, first)
    numbers = (row.bound, standard_error(row.bounds), row.per_step, row.spread, gap, gap_se, row.elbo)
    kl, filtered = row.mean_of("kl"), filter_figures(row)
    per_step = None if kl is None else row.over_steps(kl)
    rest = (kl, per_step, row.mean_of("active_units"), row.parameters, row.seconds, row.perplexity)
    return {**known, **dict(zip(NUMBERS, (*numbers, *filtered, *rest), strict=True))}


def filter_figures(row: Row) -> tuple[float | None, float | None, float | None]:
    """The particle-filter bound of a row, its standard error, and the bound per step."""
    if row.filtered is None:
        return None, None, None
    bound = float(row.filtered.mean())
    return bound, standard_error(row.filtered), row.over_steps(bound)


NUMBERS = (
    *("iw_bound", "iw_bound_se", "iw_bound_per_step", "iw_bound_spread", "difference", "difference_se", "elbo"),
    *("fivo_bound", "fivo_bound_se", "fivo_bound_per_step", "kl", "kl_per_step"),
    *("active_units", "num_parameters", "seconds_per_step", "perplexity"),
)
"""The figures of a row."""


def all_figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The figures of all rows; differences are from the first that has a run."""
    first = next((row for row in rows if row.runs), None)
    return [figures_of(row, first) for row in rows]


def number(value: Any, form: str) -> str:
    """A figure, "-" where there is none."""
    return format(value, form) if value is not None and math.isfinite(value) else "-"


def with_error(value: Any, error: Any, form: str) -> str:
    """A figure and its standard error, to as many places."""
    return f"{number(value, form)} +- {number(error, form.removeprefix('+'))}" if number(value, form) != "-" else "-"


def columns(step: str, without: Collection[str]) -> dict[str, Callable[[Figures], str]]:
    """The cells of a row under their headings.

    Args:
        step: the data's word for one.
        without: figures that no row has, whose columns are left out.
    """
    optional: dict[str, dict[str, Callable[[Figures], str]]] = {
        "fivo_bound": {
            "FIVO": lambda f: with_error(f["fivo_bound"], f["fivo_bound_se"], ".3f"),
            f"FIVO per {step}": lambda f: number(f["fivo_bound_per_step"], ".4f"),
        },
        "perplexity": {"perplexity": lambda f: number(f["perplexity"], ".2f")},
    }
    filtered, text = ({} if name in without else cells for name, cells in optional.items())
    return {
        "run": lambda f: f["name"],
        "seeds": lambda f: f["seeds"].replace(" ", ", ") or "failed",
        "IW bound": lambda f: with_error(f["iw_bound"], f["iw_bound_se"], ".3f"),
        f"per {step}": lambda f: number(f["iw_bound_per_step"], ".4f"),
        "spread": lambda f: number(f["iw_bound_spread"], ".3f"),
        "difference": lambda f: with_error(f["difference"], f["difference_se"], "+.3f"),
        **filtered,
        "ELBO": lambda f: number(f["elbo"], ".3f"),
        "KL": lambda f: number(f["kl"], ".3f"),
        f"KL per {step}": lambda f: number(f["kl_per_step"], ".4f"),
        "active units": lambda f: number(f["active_units"], ".4g"),
        "parameters": lambda f: number(f["num_parameters"], ",d"),
        "s/step": lambda f: number(f["seconds_per_step"], ".3g"),
        **text,
    }


def table(rows: Sequence[Row]) -> list[list[str]]:
    """The comparison as cells, the headings first."""
    figures = all_figures(rows)
    some = next((run for row in rows for run in row.runs), None)
    without = [name for name in NUMBERS if all(each[name] is None for each in figures)]
    cells = columns(some.table["step"] if some else "step", without)
    return [list(cells), *([cell(each) for cell in cells.values()] for each in figures)]


def protocol(rows: Sequence[Row]) -> str:
    """What was scored, and how, in one sentence."""
    some = next(run for row in rows for run in row.runs)
    test, config, sequence = some.test, some.run.config, some.table["sequence"]
    where = f" ({Path(config.source).name})" if config.source else ""
    size, split = test["num_sequences"], some.scores.split_size
    scored = f"all {size:,}" if size == split else f"{size:,} of {split:,}"
    units = " of normalised numbers" if "elbo_original" in test else ""
    return (
        f"{config.dataset}{where}: {scored} test {sequence}s, {test['num_steps']:,} "
        f"{some.table['step']}s; bounds on the log-{some.table['measure']}{units} by K = {test['num_particles']} "
        f"particles, gamma = 1, alpha = beta = 0, nats per {sequence}; parameters of the best validation."
    )


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """What the columns are, and what to mind."""
    tested = [run for row in rows for run in row.runs]
    first = next(row for row in rows if row.runs)
    sequence, step = tested[0].table["sequence"], tested[0].table["step"]
    filtered = "FIVO, " if any(row.runs and row.filtered is not None for row in rows) else ""
    yield (
        f"IW bound, {filtered}ELBO, KL: mean over seeds and test {sequence}s; +-: standard error over the {sequence}s, "
        "of their mean over seeds."
    )
    yield f"spread: standard deviation of the IW bound over seeds. difference: of the IW bound from {first.name}"
    yield f"  on the same {sequence}s; +-: its paired standard error over them."
    yield f"active units: units of z with a KL of more than {ACTIVE:g} nats a {step}, mean over seeds."
    yield "parameters: of model and guide. s/step: seconds an update, median over updates, then over seeds" + (
        hardware(tested)
    )
    for row in rows:
        if row.failed:
            yield f"failed: {row.name}, seed {', '.join(map(str, row.failed))}"


def hardware(tested: Sequence[Outcome]) -> str:
    """What the updates were timed on, and whether that lets them be compared."""
    timings = [run.run.timing for run in tested if run.run.timing]
    places = ((each.get("device"), each.get("num_threads")) for each in timings)
    found = dict.fromkeys(f"{device}, {threads} thread{'' if threads == 1 else 's'}" for device, threads in places)
    if not found:
        return "."
    only = len(found) == 1
    return f"; on {'; '.join(found)}{'.' if only else ': seconds on one of these do not compare with another.'}"


def told(rows: Sequence[Row]) -> Iterator[str]:
    """The comparison for the terminal."""
    yield protocol(rows)
    yield from aligned(table(rows))
    yield from notes(rows)


def as_markdown(rows: Sequence[Row]) -> str:
    """The comparison as a page."""
    said = " ".join(line.strip() for line in notes(rows))
    parts = ["# Comparison", protocol(rows), "\n".join(markdown(table(rows))), said, "![](comparison.png)"]
    return "\n\n".join(parts) + "\n"


def as_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """Lines of equal fields as CSV, a missing figure empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def run_figures(row: Row, run: Outcome) -> dict[str, Any]:
    """The figures of one run."""
    bounds, timing = run.scores.iw_bound, run.run.timing
    names = ("elbo", "kl", "active_units", "num_particles", "num_sequences", "num_steps")
    return {
        "name": row.name,
        "seed": run.seed,
        "iw_bound": float(bounds.mean()),
        "iw_bound_se": standard_error(bounds),
        **{name: run.test.get(name) for name in names},
        "num_parameters": run.run.results.get("num_parameters"),
        **{name: timing.get(name) for name in ("seconds_per_step", "updates", "device", "num_threads")},
        "folder": str(run.run.folder),
    }


def write_report(rows: Sequence[Row], folder: Path) -> None:
    """Write the files of a comparison.

    Raises:
        InputError: the folder cannot be written.
    """
    lines = [run_figures(row, run) for row in rows for run in row.runs]
    with explained(f"cannot write into {folder}"):
        for name, text in zip(FILES, (as_markdown(rows), as_csv(all_figures(rows)), as_csv(lines)), strict=False):
            write_text(folder / name, text)
        plot_comparison(rows, folder / FILES[-1])


def report_folder(output: Path | None, *, force: bool) -> Path:
    """Make the folder of a comparison: `output`, or the first free ``runs/comparison-NUMBER``.

    Raises:
        InputError: it cannot be made or written, or holds a comparison and `force` is not given.
    """
    if output is None:
        return numbered_folder(Path("runs"), "comparison")
    check_output(output, force=force)
    with explained(f"cannot make the folder {output}"):
        output.mkdir(parents=True, exist_ok=True)
    require_writable(output)
    return output


def check_output(output: Path, *, force: bool) -> None:
    """Refuse a folder in which a comparison would be lost.

    Raises:
        InputError: it holds one and `force` is not given, or is a file.
    """
    there = [name for name in FILES if (output / name).exists()]
    if there and not force:
        raise InputError(f"{output} holds a comparison; --force overwrites it")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; --output names a folder")
