"""The figures of a test, with their protocol and what they mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from zf_pyro.figures import BITS, measure, weights_told
from zf_pyro.files import printable
from zf_pyro.latents import ACTIVE
from zf_pyro.options import headline
from zf_pyro.report.blocks import Block, Note, Table
from zf_pyro.report.material import Material

Figures = Mapping[str, Any]

COLLAPSED = 1.0
"""Nats a sequence below which a posterior says next to nothing that the prior does not."""

EXACT = "Without a latent variable every bound is the log-likelihood itself, by any number of particles."

NAMES = {
    "iw_bound": (
        "IW bound",
        "{sequence}",
        "importance-weighted lower bound on log p(x) by K particles; higher is better",
    ),
    "elbo": ("ELBO", "{sequence}", "evidence lower bound: the same by one particle"),
    "fivo_bound": ("FIVO", "{sequence}", "lower bound by a particle filter of K particles"),
    "kl": ("KL", "{sequence}", "of posterior from prior: how much z says of x beyond its own past"),
    "marginal": ("baseline", "{sequence}", "the score of {step}s drawn independently, as in training: to be beaten"),
    "iw_bound_per_step": ("IW bound per {step}", "{step}", "over all {step}s of the test"),
    "elbo_per_step": ("ELBO per {step}", "{step}", ""),
    "fivo_bound_per_step": ("FIVO per {step}", "{step}", ""),
    "iw_bound_original": ("IW bound, units of the data", "{sequence}", "of numbers that are not normalised"),
    "elbo_original": ("ELBO, units of the data", "{sequence}", ""),
    "fivo_bound_original": ("FIVO, units of the data", "{sequence}", ""),
    "iw_bound_original_per_step": ("IW bound per {step}, units of the data", "{step}", ""),
    "elbo_original_per_step": ("ELBO per {step}, units of the data", "{step}", ""),
    "fivo_bound_original_per_step": ("FIVO per {step}, units of the data", "{step}", ""),
    "iw_bound_bootstrap_se": ("IW bound, error by bootstrap", "{sequence}", "standard error, {sequence}s drawn anew"),
    "perplexity": ("perplexity", "", "at most this, by the IW bound; lower is better"),
    "perplexity_elbo": ("perplexity by the ELBO", "", "at most this"),
    "perplexity_fivo": ("perplexity by FIVO", "", "at most this"),
    "unigram_perplexity": ("unigram perplexity", "", "of the baseline: the frequencies of training's words"),
    **{name: (name.replace("_", " "), "bits", "at most this, by the IW bound; lower is better") for name in BITS},
    "active_units": ("active units", "", "units of z whose KL is above {active:g} nats per {step}"),
    "effective_sample_size": ("effective sample size", "", "of the K weights, mean over {sequence}s"),
    "pareto_k_above": ("heavy tails", "", "share of {sequence}s whose weights are not to be trusted"),
    "resamplings": ("resamplings", "", "of the particle filter, per {sequence}"),
}
"""What a figure is called, what its nats are per, and what it means."""

ERRORS = {
    "elbo": "elbo_se",
    "iw_bound": "iw_bound_se",
    "fivo_bound": "fivo_bound_se",
    "iw_bound_per_step": "iw_bound_per_step_se",
}
"""Where the standard error of a figure is."""

ELSEWHERE = {"num_sequences", "num_steps", "num_particles", "curve", *ERRORS.values()}
"""Figures that stand in the protocol, in the picture of the bound, or beside another."""


def listed(test: Figures) -> list[str]:
    """The figures of a test in the order in which they are shown; those without a name of their own last."""
    own = [name for name in test if name not in NAMES and name not in ELSEWHERE]
    return [*(name for name in NAMES if name in test), *own]


def words_of(name: str, table: Figures) -> tuple[str, str, str]:
    """What a figure is called, its unit, and what it means, in the words of the data."""
    label, unit, meaning = NAMES.get(name, (name.replace("_", " "), "", ""))
    known = {"sequence": table["sequence"], "step": table["step"], "active": ACTIVE}
    unit = unit.format(**known)
    unit = f"nats per {unit}" if unit and unit != "bits" else unit
    return label.format(**known), unit, meaning.format(**known)


def number(name: str, value: Any) -> str:
    """A figure as it is shown; "-" where it is not known."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "-"
    if name == "pareto_k_above":
        return f"{value:.1%}"
    if isinstance(value, int):
        return f"{value:,}"
    digits = 4 if "per_step" in name or name in BITS else 2 if "perplexity" in name else 1 if "size" in name else 3
    return f"{value:,.{digits}f}"


def with_error(name: str, test: Figures) -> str:
    """A figure and its standard error, where there is one."""
    error = number(ERRORS.get(name, name), test.get(ERRORS[name])) if name in ERRORS else "-"
    return number(name, test.get(name)) + (f" ± {error}" if error != "-" else "")


def results_table(material: Material) -> Table:
    """Every figure of the main test."""
    table = material.main
    rows = []
    for name in listed(table["test"]):
        label, unit, meaning = words_of(name, table)
        rows.append((label, with_error(name, table["test"]), unit, meaning))
    finished = material.finished
    extra = {
        "parameters": (finished.results.get("num_parameters"), "", "of model and guide together"),
        "updates": (finished.results.get("steps"), "", "of training"),
    }
    rows += [(label, number("", value), unit, meaning) for label, (value, unit, meaning) in extra.items()]
    seconds = finished.timing.get("seconds_per_step")
    if isinstance(seconds, int | float):
        where = f"{finished.timing.get('device')}, threads: {finished.timing.get('num_threads')}"
        rows.append(("time of an update", f"{seconds:.3g}", "seconds", f"median; on {where}"))
    return Table(
        "Test of the best parameters by validation",
        ("figure", "value", "unit", "meaning"),
        rows,
        numbers=frozenset({1}),
        stacks=True,
    )


def evaluations_table(material: Material) -> list[Block]:
    """The bound of each test of the run, where there are several."""
    if len(material.evaluations) < 2:
        return []
    rows = [
        (
            f"{t['test']['num_particles']:,}",
            f"{t['test']['num_sequences']:,}",
            with_error("iw_bound", t["test"]),
            with_error("elbo", t["test"]),
        )
        for t in material.evaluations
    ]
    head = ("particles K", f"{material.observation.sequence}s", "IW bound", "ELBO")
    caption = f"Every test of this run, nats per {material.observation.sequence}"
    return [Table(caption, head, rows, numbers=frozenset({1, 2, 3}))]


def protocol(material: Material) -> str:
    """What was scored, and how, in a few sentences."""
    table, test = material.main, material.main["test"]
    sequence, step = table["sequence"], table["step"]
    size, split = test["num_sequences"], material.scores_of(material.main).get("split_size")
    part = f"{size:,}" if split is None else f"all {size:,}" if size == split else f"{size:,} of {int(split):,}"
    units = " of normalised numbers" if "elbo_original" in test else ""
    return (
        f"Protocol: {part} test {sequence}s, {test['num_steps']:,} {step}s. Bounds on the log-{measure_of(material)}"
        f"{units} by K = {test['num_particles']:,} particles, with gamma = 1 and without the added terms "
        f"(alpha = beta = 0); means over {sequence}s, ± their standard errors. "
        f"{'' if material.has_latents else EXACT + ' '}"
        "Parameters: those with the best validation bound, not the last."
    )


def lead(material: Material) -> list[str]:
    """The outcome in two sentences."""
    table, test = material.main, material.main["test"]
    sequence = table["sequence"]
    config = material.config
    first = (
        f"{headline(config)} on {config.dataset}, preset {config.preset}, seed {config.seed}: "
        f"{with_error('iw_bound', test)} nats per {sequence} by {test['num_particles']:,} particles"
    )
    shown = [name for name in ("perplexity", *BITS) if name in test]
    first += "".join(f", {words_of(name, table)[0]} at most {number(name, test[name])}" for name in shown) + "."
    baseline = number("marginal", test.get("marginal"))
    second = f"{table['step'].capitalize()}s drawn independently score {baseline} nats per {sequence}."
    return [first, second] if test.get("marginal") is not None else [first]


def warnings(material: Material) -> Iterator[Note]:
    """What a reader should not miss: a collapsed posterior, a bound that is worse than the baseline, heavy tails."""
    table, test = material.main, material.main["test"]
    sequence, step = table["sequence"], table["step"]
    if material.has_latents and (said := collapse(test, step, sequence, material.config.model.latent_size)):
        yield Note(said, warns=True)
    marginal, bound = test.get("marginal"), test.get("iw_bound")
    if marginal is not None and bound is not None and bound < marginal:
        yield Note(f"The bound is below the baseline: {step}s drawn independently score better.", warns=True)
    yield from (note for note in diagnostics(material) if note.warns)


def diagnostics(material: Material) -> list[Note]:
    """What the weights of the test say of its bound; nothing of one that is exact."""
    if not material.has_latents:
        return []
    test, sequence = material.tightest["test"], material.tightest["sequence"]
    lines = [line.strip() for line in weights_told(test, sequence)]
    return [Note(f"{line[0].upper()}{line[1:]}.", warns="not to be trusted" in line) for line in lines]


def collapse(test: Figures, step: str, sequence: str, num_units: int) -> str:
    """Whether the posterior has collapsed onto the prior, in words; empty where it has not."""
    kl, active = test.get("kl"), test.get("active_units")
    if kl is None:
        return ""
    per_step = kl * test["num_sequences"] / test["num_steps"]
    collapsed = kl < COLLAPSED or per_step < ACTIVE
    if active != 0 and not collapsed:
        return ""
    facts = f"KL is {kl:.3f} nats per {sequence}, {per_step:.4f} per {step}"
    if active == 0:
        facts += f", and none of the {num_units} units of z is active (above {ACTIVE:g} nats per {step})"
    if not collapsed:
        return f"{facts}: what z says is spread thinly over its units."
    return (
        f"The posterior has collapsed onto the prior: {facts}. The model hardly uses z: what is made from z below is "
        "the work of the recurrent network."
    )


def side_by_side(materials: list[Material]) -> list[Block]:
    """The figures of several runs, a column each, with what keeps them from being compared."""
    tables = [material.main for material in materials]
    figures = [
        {(name, headed(name, table)): with_error(name, table["test"]) for name in listed(table["test"])}
        for table in tables
    ]
    order = [*NAMES, *(name for table in tables for name in table["test"])]
    keys = sorted(dict.fromkeys(key for each in figures for key in each), key=lambda key: order.index(key[0]))
    rows = [(key[1], *(each.get(key, "-") for each in figures)) for key in keys]
    rows.append(("particles K", *(number("", table["test"]["num_particles"]) for table in tables)))
    rows.append(("test sequences", *(number("", table["test"]["num_sequences"]) for table in tables)))
    rows.append(("parameters", *(number("", each.finished.results.get("num_parameters")) for each in materials)))
    rows.append(("updates", *(number("", each.finished.results.get("steps")) for each in materials)))
    columns = frozenset(range(1, len(materials) + 1))
    caption = "Tests side by side; of each run that of the most sequences, by the most particles"
    head = ("figure", *titles(materials))
    return [*(Note(text, warns=True) for text in incomparable(materials)), Table(caption, head, rows, numbers=columns)]


def headed(name: str, table: Figures) -> str:
    """A figure with its unit; the same of a sentence and of an image are two figures."""
    label, unit, _ = words_of(name, table)
    return f"{label} ({unit})" if unit else label


def incomparable(materials: list[Material]) -> Iterator[str]:
    """Why the figures of several runs do not compare, a sentence for each reason."""
    others = "zf-pyro compare tests runs alike, and pairs their differences."
    data = {(material.config.dataset, material.finished.fingerprint) for material in materials}
    if len(data) > 1:
        yield f"They were trained on different data: bounds do not compare. {others}"
    if len({measure_of(material) for material in materials}) > 1:
        yield f"Some bounds are of a density, others of a probability: they do not compare. {others}"
    tests = [material.main["test"] for material in materials]
    if len({test["num_particles"] for test in tests}) > 1:
        yield f"They were tested by different numbers of particles: a bound by more is tighter. {others}"
    places = {found for material in materials if (found := sequences_of(material)) is not None}
    if len(places) > 1 or len({test["num_sequences"] for test in tests}) > 1:
        yield f"They were tested on different sequences: differences may be those of the sequences. {others}"


def measure_of(material: Material) -> str:
    """Whether bounds are on a probability or on a density; older results do not say it."""
    known = material.main.get("measure")
    return known if isinstance(known, str) else measure(material.config, material.observation)


def sequences_of(material: Material) -> tuple[int, ...] | None:
    """The places of the test sequences that were scored; None where they are not known."""
    indices = material.scores_of(material.main).get("indices")
    return None if indices is None else tuple(indices.tolist())


def titles(materials: list[Material]) -> list[str]:
    """A name for each run: the folder's own, or its path where two are named alike."""
    names = [material.name for material in materials]
    return [
        name if names.count(name) == 1 else printable(str(material.folder))
        for name, material in zip(names, materials, strict=True)
    ]
