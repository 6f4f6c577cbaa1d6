"""What `zf-pyro benchmark` measures and says; its tables are Markdown, as docs/performance.md shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from zf_pyro.benchmark.contenders import SEGMENT, contenders
from zf_pyro.benchmark.evaluation import evaluators
from zf_pyro.benchmark.families import family_steps
from zf_pyro.benchmark.measure import alternating_medians, machine, peak_memory
from zf_pyro.benchmark.picture import draw
from zf_pyro.benchmark.precision import PRECISIONS, precision_steps
from zf_pyro.benchmark.sizes import SIZES
from zf_pyro.benchmark.together import ROUNDS, TOGETHER, teams, update_times
from zf_pyro.scopes import local_parameters

EVALUATION, OF_FAMILIES, OF_PRECISIONS = "evaluation", "families", "precision"
OF_PROCESSES = "processes"
CHOICES = (*SIZES, EVALUATION, OF_FAMILIES, OF_PRECISIONS, OF_PROCESSES)

PROGRAMS = {
    "step_form": "step form",
    "path_form": "path form",
    "generic_loop": "its generic loop",
    "plain_loop": "plain loop",
    "floor": "floor",
}
EVALUATORS = {
    "renyi": "RenyiELBO, step form",
    "renyi_vectorized": "the same, vectorized",
    "step_form": "evaluator, step form",
    "path_form": "evaluator, path form",
}
NUM_PARTICLES = 100
EVALUATION_ROUNDS = 3
STEPS = (100, 400, 1600, 10_000)
PARTICLES = (1, 10, 100, 1000)

Say = Callable[[str], None]


def benchmark(names: list[str], repeats: int, device: torch.device, say: Say) -> dict[str, Any]:
    """Measure the given sizes, a line of a table said for each; returns all figures, seconds and MiB."""
    figures: dict[str, Any] = {"machine": machine(device), "repeats": repeats, "sizes": {}, "memory_mib": {}}
    say(in_words(figures["machine"]))
    sizes = [name for name in names if name in SIZES]
    if sizes:
        say(f"\nA training step (forward, backward, Adam): median seconds of {repeats}, and peak memory\n")
        say(row("sizes", *PROGRAMS.values(), "against step form", "against plain loop", "against floor"))
        say(row(*["---"] * (len(PROGRAMS) + 4)))
    for name in sizes:
        times, memory = measure_training(name, repeats, device)
        figures["sizes"][name], figures["memory_mib"][name] = times, memory
        say(training_row(name, times, memory))
    if EVALUATION in names:
        figures[EVALUATION] = evaluation(min(repeats, EVALUATION_ROUNDS), device, say)
    if OF_FAMILIES in names:
        figures[OF_FAMILIES] = families(repeats, device, say)
    if OF_PRECISIONS in names:
        figures[OF_PRECISIONS] = precisions(repeats, device, say)
    if OF_PROCESSES in names:
        figures[OF_PROCESSES] = processes(repeats, device, say)
    return figures


def families(repeats: int, device: torch.device, say: Say) -> dict[str, float]:
    """Measure a training step of every family; returns seconds."""
    times = alternating_medians(family_steps(device), repeats, device)
    say(f"\nA training step of every family at the sizes of chorales, path form: median seconds of {repeats}\n")
    say(row("family", "seconds", "against zforcing"))
    say(row("---", "---", "---"))
    for name, seconds in times.items():
        say(row(name, f"{seconds:.3f}", f"{seconds / times['zforcing']:.2f}"))
    return times


def precisions(repeats: int, device: torch.device, say: Say) -> dict[str, dict[str, float]]:
    """Measure a training step of every size in every precision; returns seconds."""
    say(f"\nA training step in every precision, path form: median seconds of {repeats}\n")
    say(row("sizes", *PRECISIONS))
    say(row(*["---"] * (len(PRECISIONS) + 1)))
    figures = {}
    for name, size in SIZES.items():
        with local_parameters():
            figures[name] = alternating_medians(precision_steps(size, device), repeats, device)
        say(row(name, *(f"{seconds:.3f}" for seconds in figures[name].values())))
    return figures


def processes(repeats: int, device: torch.device, say: Say) -> dict[str, dict[str, float]]:
    """Measure an update by one process and by two, which have the same sequences or as many each; returns seconds."""
    say(f"\nAn update of the trainer: median of {ROUNDS} starts of {repeats} updates; in brackets sequences a second\n")
    say(row("sizes", *(f"{team.processes} x {team.threads} threads, B = {team.sequences}" for team in teams())))
    say(row(*["---"] * (len(teams()) + 1)))
    figures = {}
    for name in TOGETHER:
        figures[name] = update_times(name, repeats, device)
        each = ((figures[name][team.name], team.sequences) for team in teams())
        say(row(name, *(f"{seconds:.3f} s ({sequences / seconds:.1f})" for seconds, sequences in each)))
    return figures


def measure_training(name: str, repeats: int, device: torch.device) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds and MiB of a training step of each program."""
    with local_parameters():
        times = alternating_medians(contenders(SIZES[name], device, PROGRAMS), repeats, device)
    return times, {program: peak_memory(task(name, program, device)) for program in PROGRAMS}


def task(size: str, program: str, device: torch.device, **more: int) -> dict[str, Any]:
    """A task for `zf_pyro.benchmark.alone`."""
    return {"size": size, "program": program, "device": str(device), "threads": torch.get_num_threads(), **more}


def training_row(name: str, times: dict[str, float], memory: dict[str, float]) -> str:
    """The figures of one size, and how the path form compares."""
    path = times["path_form"]
    return row(
        name,
        *(cost(times[program], memory[program]) for program in PROGRAMS),
        f"{times['step_form'] / path:.2f} times faster",
        f"{times['plain_loop'] / path:.2f} times faster",
        f"{path / times['floor']:.2f} times slower",
    )


def evaluation(repeats: int, device: torch.device, say: Say) -> dict[str, Any]:
    """Measure importance-weighted bounds at the sizes of text, without its softmax."""
    with local_parameters():
        times = alternating_medians(evaluators(SIZES["text"], NUM_PARTICLES, device), repeats, device)
    memory = {name: peak_memory(task("text", name, device, num_particles=NUM_PARTICLES)) for name in EVALUATORS}
    size = SIZES["text"]
    say(f"\nImportance weights, {size.sequences} sequences of text's sizes, K = {NUM_PARTICLES}: median of {repeats}\n")
    say(row("program", "cost", "path form against it"))
    say(row("---", "---", "---"))
    for name, label in EVALUATORS.items():
        say(row(label, cost(times[name], memory[name]), f"{times[name] / times['path_form']:.2f} times faster"))
    return {"num_particles": NUM_PARTICLES, "repeats": repeats, "seconds": times, "memory_mib": memory}


def scaling(repeats: int, device: torch.device, picture: Path, say: Say) -> dict[str, Any]:
    """Measure the path form over T and over K, and draw both.

    Raises:
        OSError: the picture cannot be written.
    """
    figures: dict[str, Any] = {
        "machine": machine(device),
        "repeats": repeats,
        "steps": {},
        "segments": {},
        "particles": {},
    }
    say(in_words(figures["machine"]))
    say(f"\nThe path form: median seconds of {repeats}, and peak memory\n")
    say(row("T, a training step at pixels' sizes", "cost", f"in segments of {SEGMENT} steps"))
    say(row("---", "---", "---"))
    for steps in STEPS:
        names = ("path_form", "segments")
        with local_parameters():
            programs = contenders(replace(SIZES["pixels"], steps=steps), device, names)
            times = alternating_medians(programs, repeats, device)
        for name, place in zip(names, ("steps", "segments"), strict=True):
            peak = peak_memory(task("pixels", name, device, steps=steps))
            figures[place][steps] = {"seconds": times[name], "memory_mib": peak}
        costs = (figures[place][steps] for place in ("steps", "segments"))
        say(row(str(steps), *(cost(each["seconds"], each["memory_mib"]) for each in costs)))
    say("\n" + row("K, importance weights at text's sizes", "cost"))
    say(row("---", "---"))
    for particles in PARTICLES:
        with local_parameters():
            program = evaluators(SIZES["text"], particles, device)["path_form"]
            seconds = alternating_medians({"path_form": program}, repeats, device)["path_form"]
        memory = peak_memory(task("text", "path_form", device, num_particles=particles))
        figures["particles"][particles] = {"seconds": seconds, "memory_mib": memory}
        say(row(str(particles), cost(seconds, memory)))
    draw(figures, picture)
    return figures


def in_words(described: dict[str, Any]) -> str:
    """The machine in a line."""
    return ", ".join(f"{name} {value}" for name, value in described.items() if value is not None)


def cost(seconds: float, memory: float) -> str:
    """Time and memory in a cell of a table."""
    return f"{seconds:.3f} s, {memory:,.0f} MiB"


def row(*cells: str) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
