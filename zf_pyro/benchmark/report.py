"""What `zf-pyro benchmark` measures, prints and draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from zf_pyro.benchmark.contenders import contenders
from zf_pyro.benchmark.evaluation import evaluators
from zf_pyro.benchmark.measure import alternating_medians, machine, peak_memory
from zf_pyro.benchmark.sizes import SIZES
from zf_pyro.scopes import local_parameters

EVALUATION = "evaluation"
CHOICES = (*SIZES, EVALUATION)

PROGRAMS = {"step_form": "step form", "path_form": "path form", "plain_loop": "plain loop", "floor": "floor"}
EVALUATORS = {
    "renyi": "RenyiELBO",
    "renyi_vectorized": "RenyiELBO vectorized",
    "step_form": "step form",
    "path_form": "path form",
}
NUM_PARTICLES = 100
STEPS = (98, 196, 392, 784, 1568)
PARTICLES = (1, 10, 100, 1000)

Say = Callable[[str], None]


def benchmark(names: list[str], repeats: int, device: torch.device, say: Say) -> dict[str, Any]:
    """Measure the given sizes, a line said for each; returns all figures, seconds and MiB."""
    described = machine(device)
    say(", ".join(f"{name} {value}" for name, value in described.items() if value is not None))
    say("Seconds a training step (forward, backward, Adam; median), and peak memory in MiB")
    figures: dict[str, Any] = {"machine": described, "repeats": repeats, "sizes": {}, "memory_mib": {}}
    for name in names:
        if name == EVALUATION:
            continue
        with local_parameters():
            times = alternating_medians(contenders(SIZES[name], device), repeats, device)
        memory = {program: peak_memory(task(name, program, device)) for program in PROGRAMS}
        figures["sizes"][name], figures["memory_mib"][name] = times, memory
        for line in training_lines(name, times, memory):
            say(line)
    if EVALUATION in names:
        figures[EVALUATION] = evaluation(repeats, device, say)
    return figures


def task(size: str, program: str, device: torch.device, **more: int) -> dict[str, Any]:
    """A task for `zf_pyro.benchmark.alone`."""
    return {"size": size, "program": program, "device": str(device), "threads": torch.get_num_threads(), **more}


def training_lines(name: str, times: dict[str, float], memory: dict[str, float]) -> Iterator[str]:
    """The figures of one size, in words."""
    shown = (f"{label} {times[program]:.3f} s, {memory[program]:,.0f} MiB" for program, label in PROGRAMS.items())
    yield f"{name}: {'; '.join(shown)}"
    path = times["path_form"]
    yield (
        f"{'':{len(name)}}  path form: {times['step_form'] / path:.2f} times as fast as the step form, "
        f"{times['plain_loop'] / path:.2f} times as fast as the plain loop; {path / times['floor']:.2f} times the floor"
    )


def evaluation(repeats: int, device: torch.device, say: Say) -> dict[str, Any]:
    """Measure importance-weighted bounds at the sizes of text, without its softmax."""
    with local_parameters():
        times = alternating_medians(evaluators(SIZES["text"], NUM_PARTICLES, device), min(repeats, 3), device)
    memory = {
        program: peak_memory(task("text", program, device, num_particles=NUM_PARTICLES)) for program in EVALUATORS
    }
    shown = (f"{label} {times[name]:.3f} s, {memory[name]:,.0f} MiB" for name, label in EVALUATORS.items())
    say(f"evaluation, text, K = {NUM_PARTICLES}: {'; '.join(shown)}")
    ratios = [times[name] / times["path_form"] for name in ("renyi", "renyi_vectorized")]
    say(
        f"            path form: {ratios[0]:.2f} times as fast as RenyiELBO on the step form, "
        f"{ratios[1]:.2f} times with its particles vectorized"
    )
    return {"num_particles": NUM_PARTICLES, "seconds": times, "memory_mib": memory}


def scaling(repeats: int, device: torch.device, picture: Path, say: Say) -> dict[str, Any]:
    """Measure the path form over T and over K, and draw both.

    Raises:
        OSError: the picture cannot be written.
    """
    described = machine(device)
    say(", ".join(f"{name} {value}" for name, value in described.items() if value is not None))
    figures: dict[str, Any] = {"machine": described, "repeats": repeats, "steps": {}, "particles": {}}
    for steps in STEPS:
        size = replace(SIZES["pixels"], steps=steps)
        with local_parameters():
            program = contenders(size, device, ["path_form"])
            times = alternating_medians(program, repeats, device)["path_form"]
        memory = peak_memory(task("pixels", "path_form", device, steps=steps))
        figures["steps"][steps] = {"seconds": times, "memory_mib": memory}
        say(f"pixels, training, T = {steps}: {times:.3f} s, {memory:,.0f} MiB")
    for particles in PARTICLES:
        with local_parameters():
            path_form = {"path_form": evaluators(SIZES["text"], particles, device)["path_form"]}
            times = alternating_medians(path_form, repeats, device)["path_form"]
        memory = peak_memory(task("text", "path_form", device, num_particles=particles))
        figures["particles"][particles] = {"seconds": times, "memory_mib": memory}
        say(f"text, importance weights, K = {particles}: {times:.3f} s, {memory:,.0f} MiB")
    draw(figures, picture)
    return figures


def draw(figures: dict[str, Any], picture: Path) -> None:
    """Seconds and MiB over T and over K, both axes logarithmic, so that a line of slope one is linear cost."""
    panels = (("steps", "T, a training step at the sizes of pixels"), ("particles", "K, importance weights for text"))
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, (name, label) in zip(axes, panels, strict=True):
        points = figures[name]
        other = axis.twinx()
        lines = axis.loglog(list(points), [point["seconds"] for point in points.values()], "o-", label="seconds")
        lines += other.loglog(list(points), [point["memory_mib"] for point in points.values()], "s--C1", label="MiB")
        axis.set(xlabel=label, ylabel="seconds")
        other.set_ylabel("peak memory, MiB")
        axis.legend(handles=lines)
    figure.savefig(picture, dpi=120)
    plt.close(figure)
