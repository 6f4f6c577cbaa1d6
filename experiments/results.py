"""The tables of docs/results.md and README.md, from the comparisons that the sweeps have written.

    python experiments/results.py [runs]

Given the folder of the runs, it first copies their comparisons into experiments/results. So no figure of these tables
is typed by hand, and tests/test_results.py holds them against the copies.
"""

from __future__ import annotations

import csv
import re
import shutil
import sys
from pathlib import Path

from zf_pyro.compare.report import number, with_error
from zf_pyro.metrics import read_metrics
from zf_pyro.sweep import read_sweep
from zf_pyro.tables import markdown

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "experiments" / "results"
TUNING = "-tuning"
"""How the names of sweeps end that choose settings by their validations."""
SHORT = {"README.md": ("run", "per", "FIVO", "KL", "difference")}
"""Columns of a page that has not all of them, by how their headings begin."""


def keep(runs: Path) -> None:
    """Copy the comparisons of all sweeps that a folder of runs holds, and of a tuning the validations."""
    for sweep in sorted((ROOT / "experiments").glob("*.toml")):
        folder = runs / sweep.stem
        if sweep.stem.endswith(TUNING) and folder.is_dir():
            keep_validations(sweep, folder)
        elif (folder / "comparison.md").exists():
            for kind in ("csv", "md"):
                shutil.copy(folder / f"comparison.{kind}", KEPT / f"{sweep.stem}.{kind}")


def keep_validations(sweep: Path, folder: Path) -> None:
    """Write the best validation of each run of a tuning, nats a step."""
    with (KEPT / f"{sweep.stem}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "seed", "best after", "ELBO per step", "KL per step"])
        for run in read_sweep(sweep, folder):
            if not (run.folder / "results.json").exists():
                continue
            lines = [line for line in read_metrics(run.folder) if line.get("valid_elbo") is not None]
            best = max(lines, key=lambda line: line["valid_elbo"])
            bounds = (f"{best[name] / best['valid_length']:.4f}" for name in ("valid_elbo", "valid_kl"))
            writer.writerow([run.name, run.config.seed, best["step"], *bounds])


def cells(row: dict[str, str], step: str) -> dict[str, str]:
    """What a table says of a row, under its headings; the empty string is left for figures that the row has not."""
    value = {name: float(each) for name, each in row.items() if name not in ("name", "seeds", "failed_seeds") and each}
    found = {
        "run": row["name"],
        "seeds": row["seeds"].replace(" ", ", "),
        "IW bound": with_error(value["iw_bound"], value.get("iw_bound_se"), ".2f"),
        f"per {step}": number(value["iw_bound_per_step"], ".4f"),
        "spread": number(value.get("iw_bound_spread"), ".2f"),
        "difference": with_error(value.get("difference"), value.get("difference_se"), "+.3f"),
    }
    optional = {
        f"FIVO per {step}": ("fivo_bound_per_step", ".4f"),
        f"KL per {step}": ("kl_per_step", ".4f"),
        "perplexity": ("perplexity", ".2f"),
    }
    return found | {head: number(value.get(name), form) for head, (name, form) in optional.items()}


def table(name: str, wanted: tuple[str, ...] = ()) -> list[str]:
    """The lines of a sweep's protocol and table; the columns that no row fills are left out.

    Args:
        name: of the sweep.
        wanted: how the headings begin that are to stay; all where it is empty.
    """
    if not (KEPT / f"{name}.csv").exists():
        return ["", "Not run yet.", ""]
    if name.endswith(TUNING):
        with (KEPT / f"{name}.csv").open() as file:
            return ["", *markdown(list(csv.reader(file))), ""]
    protocol = (KEPT / f"{name}.md").read_text().split("\n\n")[1]
    step = re.search(r"([a-z]+)s; bounds on", protocol)
    assert step is not None, protocol
    with (KEPT / f"{name}.csv").open() as file:
        rows = [cells(row, step[1]) for row in csv.DictReader(file) if row["iw_bound"]]
    heads = [head for head in rows[0] if any(row[head] != "-" for row in rows)]
    heads = [head for head in heads if not wanted or head.startswith(wanted)]
    return ["", protocol, "", *markdown([heads, *([row[head] for head in heads] for row in rows)]), ""]


def filled(text: str, wanted: tuple[str, ...] = ()) -> str:
    """A page whose tables, each between a marker and the next, are those of the kept comparisons."""

    def made(marks: re.Match[str]) -> str:
        return "\n".join([marks[1], *table(marks[2], wanted), "<!-- end -->"])

    return re.sub(r"(<!-- results of ([a-z-]+) -->)\n.*?<!-- end -->", made, text, flags=re.DOTALL)


def main() -> None:
    """Copy where a folder is named, and write the pages."""
    for runs in sys.argv[1:]:
        keep(Path(runs))
    for name in ("README.md", "docs/results.md"):
        page = ROOT / name
        page.write_text(filled(page.read_text(), SHORT.get(name, ())))


if __name__ == "__main__":
    main()
