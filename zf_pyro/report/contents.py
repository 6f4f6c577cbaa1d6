"""The sections of a report, of one run or of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zf_pyro.report import made, results, settings, training
from zf_pyro.report.blocks import Block, Note, Section, Sides, attempted
from zf_pyro.report.material import Material
from zf_pyro.report.samples import samples

Part = Callable[[Material], list[Block]]

NO_LATENTS = "The family rnn has no latent variable."

MADE: dict[str, tuple[str, Part]] = {
    "reconstructions": ("Reconstructions", made.reconstructions),
    "interpolations": ("Interpolations", made.interpolations),
    "traverses": ("Latent traverses", made.traverses),
}
"""What is decoded from latent paths."""


def of_one(material: Material) -> list[Section]:
    """What a run has come to, from its headline to its versions."""
    parts: dict[str, tuple[str, Part]] = {
        "results": ("Results", results_of),
        "training": ("Training", training.curves),
        "latents": ("Latent variable", with_latents(training.latents)),
        "bound": ("Bound and diagnostics", bound_of),
        "samples": ("Samples", samples),
        **{name: (title, with_latents(part)) for name, (title, part) in MADE.items()},
        "configuration": ("Configuration", settings.configuration),
        "versions": ("Versions", settings.versions),
    }
    return [Section(name, title, part_of(material, part)) for name, (title, part) in parts.items()]


def of_several(materials: Sequence[Material]) -> list[Section]:
    """Several runs side by side."""
    runs = list(materials)
    sides: dict[str, tuple[str, Part]] = {
        "training": ("Training", training.curves),
        "latents": ("Latent variable", with_latents(training.latents)),
        "bound": ("Bound and diagnostics", bound_of),
        "samples": ("Samples", samples),
        **{name: (title, with_latents(part)) for name, (title, part) in MADE.items()},
        "versions": ("Versions", settings.versions),
    }
    sections = [
        Section(
            "results",
            "Results",
            [*results.side_by_side(runs), *warned(runs), *(Note(text) for text in protocols(runs))],
        ),
        Section("validation", "Validation", attempted(lambda: training.over_each_other(runs))),
    ]
    names = results.titles(runs)
    for name, (title, part) in sides.items():
        sections.append(Section(name, title, [Sides(names, [part_of(material, part) for material in runs])]))
    return [*sections, Section("configuration", "Configuration", settings.differing(runs))]


def part_of(material: Material, part: Part) -> list[Block]:
    """A part of a run's report, or in a line why it has none."""
    return attempted(lambda: part(material))


def with_latents(part: Part) -> Part:
    """A part that only a run with a latent variable has."""
    return lambda material: part(material) if material.has_latents else [Note(NO_LATENTS)]


def results_of(material: Material) -> list[Block]:
    """What stands out, the protocol, all figures, and the other tests."""
    table = results.results_table(material)
    others = results.evaluations_table(material)
    return [*results.warnings(material), Note(results.protocol(material)), table, *others]


def bound_of(material: Material) -> list[Block]:
    """The bound against the number of particles, and what the weights say of it."""
    if not material.has_latents:
        return [Note(results.EXACT)]
    return [*training.bound(material), *results.diagnostics(material)]


def warned(materials: list[Material]) -> list[Note]:
    """What stands out in each run."""
    named = zip(results.titles(materials), materials, strict=True)
    return [Note(f"{name}: {note.text}", warns=True) for name, each in named for note in results.warnings(each)]


def protocols(materials: list[Material]) -> list[str]:
    """The protocol of each run, or the one of all."""
    said = [results.protocol(material) for material in materials]
    if len(set(said)) == 1:
        return [said[0]]
    return [f"{name}: {text}" for name, text in zip(results.titles(materials), said, strict=True)]
