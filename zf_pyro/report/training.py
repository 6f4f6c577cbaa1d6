"""Pictures of a run's training, of its latent variable, and of its bound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zf_pyro import runs
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.loader import ordered_batches
from zf_pyro.evaluation import READ_TOGETHER
from zf_pyro.inspection.usage import divergences
from zf_pyro.latents import ACTIVE, is_known
from zf_pyro.pictures import WIDTH
from zf_pyro.plots import bound_figure, curves_figure, kl_figure
from zf_pyro.report.blocks import Block, Note, drawn
from zf_pyro.report.material import Material
from zf_pyro.report.results import titles

MOST_STEPS = 20_000
"""Steps of test sequences of which the KL is taken, where `zf-pyro latents` has not done so: a second or two."""


def curves(material: Material) -> list[Block]:
    """Bound, KL, auxiliary error and backward model over training."""
    step, records = material.observation.step, material.metrics
    best = max(
        (line for line in records if line.get("valid_iw_bound") is not None),
        key=lambda line: line["valid_iw_bound"],
        default=None,
    )
    said = "" if best is None else f" The best validation was at update {best['step']:,}."
    caption = f"Training and validation, nats per {step} over updates.{said}"
    blocks: list[Block] = [drawn(lambda: curves_figure(records, step), caption, f"Curves of training, nats per {step}")]
    if not any(line.get("auxiliary") is not None for line in records):
        blocks.append(Note("Auxiliary error: not computed, since its weight alpha was 0."))
    if not any(line.get("backward") is not None for line in records):
        blocks.append(Note("Backward model: not computed, since its weight beta was 0."))
    return blocks


def bound(material: Material) -> list[Block]:
    """The bound against the number of particles."""
    table, test = material.tightest, material.tightest["test"]
    curve, sequence = test.get("curve", {}), table["sequence"]
    if len(curve) < 2:
        return [Note("The bound is known by one number of particles only.")]
    caption = (
        f"The IW bound by number of particles, ± standard error over {sequence}s: where it still rises, it is loose."
    )
    errors = errors_of_curve(material)
    return [
        drawn(
            lambda: bound_figure(curve, errors, test["elbo"], sequence), caption, "IW bound against number of particles"
        )
    ]


def errors_of_curve(material: Material) -> dict[str, float]:
    """Standard errors of the bound by each number of particles, in nats per sequence, where they are known."""
    scores = material.scores_of(material.tightest)
    counts, values = (scores.get(name) for name in ("curve_particles", "curve"))
    if counts is None or values is None or len(values) < 2:
        return {}
    errors = values.std(0, ddof=1) / np.sqrt(len(values))
    return {f"{int(count)}": float(error) for count, error in zip(counts, errors, strict=True)}


def latents(material: Material) -> list[Block]:
    """KL over time and by units."""
    found = kl_of(material)
    step = material.observation.step
    if found["by_step"] is None:
        return [Note("KL over time is not known: model or guide is a program of one's own.")]
    text = f"KL of posterior from prior over {step}s and by units of z, on {found['what']}."
    if (units := found["by_unit"]) is not None:
        active = sum(value is not None and value > ACTIVE for value in units)
        text += f" {active} of {len(units)} units are active, with more than {ACTIVE:g} nats per {step}."
    else:
        text += " By units it has no closed form."
    make = lambda: kl_figure(found["by_step"], found["counts"], units, step)  # noqa: E731
    return [drawn(make, text, "KL over time and by units")]


def kl_of(material: Material) -> dict[str, Any]:
    """KL by steps and by units: from latents.json where it is there, else of some test sequences.

    Raises:
        InputError: neither that file nor the data is there.
    """
    stored = stored_usage(material)
    if stored is not None:
        what = f"{stored['num_sequences']:,} test {material.observation.sequence}s (zf-pyro latents)"
        return {
            "by_step": stored["kl_by_step"],
            "counts": stored["sequences_by_step"],
            "by_unit": stored["kl_by_unit"],
            "what": what,
        }
    model, guide = material.run.model, material.run.guide
    chosen = some_of(material)
    if not is_known(model, guide):
        return {"by_step": None, "by_unit": None, "counts": None, "what": ""}

    def batches(_: str) -> Sequence[SequenceBatch]:
        return list(ordered_batches(material.data.test, chosen, READ_TOGETHER))

    by_unit, by_step = divergences(model, guide, batches, material.config.seed)
    assert by_step is not None
    return {
        "by_step": by_step.by_step.tolist(),
        "counts": by_step.counts.tolist(),
        "by_unit": None if by_unit is None else by_unit.by_unit.tolist(),
        "what": f"{len(chosen):,} test {material.observation.sequence}s",
    }


def stored_usage(material: Material) -> dict[str, Any] | None:
    """What `zf-pyro latents` found; None where it was not asked, or its file is damaged."""
    try:
        found = json.loads((material.folder / runs.LATENTS).read_bytes())["latents"]
        names = ("kl_by_step", "sequences_by_step", "kl_by_unit", "num_sequences")
        return {name: found[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def some_of(material: Material) -> np.ndarray:
    """The first of the run's test sequences that have `MOST_STEPS` steps together, at least one."""
    tested = material.tested
    steps = np.cumsum(material.data.test.lengths[tested])
    return tested[: max(1, int((steps <= MOST_STEPS).sum()))]


def over_each_other(materials: list[Material]) -> list[Block]:
    """Validation bounds and KL of several runs in one picture."""
    steps = {material.observation.step for material in materials}
    step = steps.pop() if len(steps) == 1 else "step"
    caption = f"Validation of every run, nats per {step} over updates."
    return [drawn(lambda: validations_figure(materials, step), caption, "Validation curves of every run")]


def validations_figure(materials: list[Material], step: str) -> Figure:
    """The validation bound and the KL of several runs over updates."""
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    for name, axes, title in (("valid_iw_bound", upper, "Validation bound"), ("valid_kl", lower, "Validation KL")):
        for material, label in zip(materials, titles(materials), strict=True):
            draw(axes, material, name, label)
        axes.set(title=title, xlabel="updates", ylabel=f"nats per {step}")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(alpha=0.3)
    upper.legend(fontsize="small")
    return figure


def draw(axes: Axes, material: Material, name: str, label: str) -> None:
    """One metric of the validations of a run."""
    points = [
        (line["step"], line[name] / line["valid_length"]) for line in material.metrics if line.get(name) is not None
    ]
    axes.plot(
        *zip(*points, strict=True) if points else ([], []), marker="o", markersize=4, label=label.replace("$", r"\$")
    )
