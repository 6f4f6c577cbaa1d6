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
SHORT = {"README.md": ("run", "seeds", "IW bound", "per", "FIVO per", "KL", "difference")}
"""Columns of a page that has not all of them, by how their headings begin."""
WORDS = ("name", "seeds", "failed_seeds")
"""What is no number in a line of comparison.csv."""


def keep(runs: Path) -> None:
    """Copy the comparisons of all sweeps that a folder of runs holds, and of a tuning the validations."""
    if not runs.is_dir():
        sys.exit(f"{runs} is no folder")
    for sweep in sorted((ROOT / "experiments").glob("*.toml")):
        folder = runs / sweep.stem
        if not (folder / "comparison.md").exists():
            continue
        if sweep.stem.endswith(TUNING):
            keep_validations(sweep, folder)
            continue
        for kind in ("csv", "md"):
            shutil.copy(folder / f"comparison.{kind}", KEPT / f"{sweep.stem}.{kind}")


def keep_validations(sweep: Path, folder: Path) -> None:
    """Write the best validation of each run of a tuning, nats a step."""
    with (KEPT / f"{sweep.stem}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "seed", "best after", "ELBO per step", "KL per step"])
        for run in read_sweep(sweep, folder):
            lines = [line for line in read_metrics(run.folder) if line.get("valid_elbo") is not None]
            best = max(lines, key=lambda line: line["valid_elbo"])
            bounds = (f"{best[name] / best['valid_length']:.4f}" for name in ("valid_elbo", "valid_kl"))
            writer.writerow([run.name, run.config.seed, best["step"], *bounds])


def cells(row: dict[str, str], step: str) -> dict[str, str]:
    """What a table says of a line of comparison.csv, under its headings; "-" stands for figures that it has not."""
    value = {name: float(each) for name, each in row.items() if name not in WORDS and each}
    seeds = [row["seeds"].replace(" ", ", "), row["failed_seeds"] and f"failed: {row['failed_seeds']}"]
    bounds = {
        "IW bound": with_error(value.get("iw_bound"), value.get("iw_bound_se"), ".2f"),
        f"per {step}": number(value.get("iw_bound_per_step"), ".3f"),
        "FIVO": with_error(value.get("fivo_bound"), value.get("fivo_bound_se"), ".2f"),
        f"FIVO per {step}": number(value.get("fivo_bound_per_step"), ".3f"),
        "ELBO": number(value.get("elbo"), ".2f"),
        f"KL per {step}": number(value.get("kl_per_step"), ".3f"),
        "perplexity": number(value.get("perplexity"), ".2f"),
        "spread": number(value.get("iw_bound_spread"), ".2f"),
        "difference": with_error(value.get("difference"), value.get("difference_se"), "+.2f"),
    }
    return {"run": row["name"], "seeds": "; ".join(filter(None, seeds)), **bounds}


def table(lines: list[dict[str, str]], step: str, wanted: tuple[str, ...] = ()) -> list[str]:
    """The lines of comparison.csv as a table in Markdown; the columns that no line fills are left out.

    Args:
        lines: by the names of their figures.
        step: the data's word for one.
        wanted: how the headings begin that are to stay; all where it is empty.
    """
    rows = [cells(line, step) for line in lines]
    heads = [head for head in rows[0] if any(row[head] != "-" for row in rows)]
    heads = [head for head in heads if not wanted or head.startswith(wanted)]
    return list(markdown([heads, *([row[head] for head in heads] for row in rows)]))


def shown(name: str, wanted: tuple[str, ...]) -> list[str]:
    """What a page shows of a sweep: its protocol and its table."""
    kept = KEPT / f"{name}.csv"
    if not kept.exists():
        return ["Not run yet."]
    with kept.open(encoding="utf-8") as file:
        if name.endswith(TUNING):
            return list(markdown(list(csv.reader(file))))
        lines = list(csv.DictReader(file))
    protocol = kept.with_suffix(".md").read_text(encoding="utf-8").split("\n\n")[1]
    step = re.search(r"([a-z]+)s; bounds on", protocol)
    assert step is not None, protocol
    return [protocol, "", *table(lines, step[1], wanted)]


def filled(text: str, wanted: tuple[str, ...] = ()) -> str:
    """A page whose tables, each between a marker and the next, are those of the kept comparisons."""

    def made(marks: re.Match[str]) -> str:
        return "\n".join([marks[1], "", *shown(marks[2], wanted), "", "<!-- end -->"])

    return re.sub(r"(<!-- results of ([a-z-]+) -->)\n.*?<!-- end -->", made, text, flags=re.DOTALL)


def main() -> None:
    """Copy where a folder is named, and write the pages."""
    for runs in sys.argv[1:]:
        keep(Path(runs))
    for name in ("README.md", "docs/results.md"):
        page = ROOT / name
        page.write_text(filled(page.read_text(encoding="utf-8"), SHORT.get(name, ())), encoding="utf-8")


if __name__ == "__main__":
    main()
