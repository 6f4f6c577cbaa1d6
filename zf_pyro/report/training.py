"""Pictures of a run's training, of its latent variable, and of its bound."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zf_pyro.latents import ACTIVE
from zf_pyro.pictures import WIDTH
from zf_pyro.plots import bound_figure, curves_figure, kl_figure
from zf_pyro.report.blocks import Block, Note, drawn
from zf_pyro.report.material import Material
from zf_pyro.report.results import titles
from zf_pyro.scores import curve_errors, scores_file


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
    blocks: list[Block] = [drawn(curves_figure(records, step), caption, f"Curves of training, nats per {step}")]
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
    known = bool(material.scores_of(table))
    errors, gain_errors = curve_errors(material.folder / scores_file(test["num_particles"])) if known else ({}, {})
    figure = bound_figure(curve, errors, test["elbo"], sequence, gain_errors)
    return [drawn(figure, caption, "IW bound against number of particles")]


def latents(material: Material) -> list[Block]:
    """KL over time and by units."""
    step, found = material.observation.step, material.divergences
    if found is None:
        return [Note("KL over time is not known: model or guide is a program of one's own.")]
    units = found.by_unit
    text = f"KL of posterior from prior over {step}s and by units of z, on {found.num_sequences:,} test sequences."
    if units is None:
        text += " By units it has no closed form."
    else:
        active = sum(value is not None and value > ACTIVE for value in units)
        text += f" {active} of {len(units)} units are active, with more than {ACTIVE:g} nats per {step}."
    return [drawn(kl_figure(found.by_step, found.counts, units, step), text, "KL over time and by units")]


def over_each_other(materials: list[Material]) -> list[Block]:
    """Validation bounds and KL of several runs in one picture."""
    steps = {material.observation.step for material in materials}
    step = steps.pop() if len(steps) == 1 else "step"
    caption = f"Validation of every run, nats per {step} over updates."
    return [drawn(validations_figure(materials, step), caption, "Validation curves of every run")]


def validations_figure(materials: list[Material], step: str) -> Figure:
    """The validation bound and the KL of several runs over updates."""
    figure = Figure(figsize=(WIDTH, 5.4 + 0.2 * len(materials)), layout="constrained")  # a line of the legend each
    upper, lower = figure.subplots(2, 1)
    for name, axes, title in (("valid_iw_bound", upper, "Validation bound"), ("valid_kl", lower, "Validation KL")):
        for material, label in zip(materials, titles(materials), strict=True):
            draw(axes, material, name, label)
        axes.set(title=title, xlabel="updates", ylabel=f"nats per {step}")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(alpha=0.3)
    figure.legend(*upper.get_legend_handles_labels(), fontsize="small", loc="outside lower center")
    return figure


def draw(axes: Axes, material: Material, name: str, label: str) -> None:
    """One metric of the validations of a run."""
    points = [
        (line["step"], line[name] / line["valid_length"]) for line in material.metrics if line.get(name) is not None
    ]
    label = " " + label.replace("$", r"\$")  # a legend leaves out what begins with _
    axes.plot(*zip(*points, strict=True) if points else ([], []), marker="o", markersize=4, label=label)
