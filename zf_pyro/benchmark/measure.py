"""Seconds and bytes."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pyro
import torch

MIB = 2**20


def alternating_medians(
    programs: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of each program over `repeats` rounds, in which all take their turn, after a round uncounted."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats + 1):
        for name, program in programs.items():
            times[name].append(seconds(program, device))
    return {name: median(values[1:]) for name, values in times.items()}


def seconds(program: Callable[[], object], device: torch.device) -> float:
    """The time that one call takes, on a GPU until it is done there."""
    wait(device)
    start = time.perf_counter()
    program()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(task: Mapping[str, Any]) -> float:
    """The greatest memory, MiB, that a task of `zf_pyro.benchmark.alone` adds to a fresh process, or to the GPU's.

    Raises:
        RuntimeError: the task failed.
    """
    return carried_out("zf_pyro.benchmark.alone", task)


def carried_out(module: str, task: Mapping[str, Any], processes: int = 1) -> float:
    """What a module prints that is run with a task, in a process of its own or by torchrun in several.

    Raises:
        RuntimeError: the task failed.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", module, json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{task} failed: {done.stderr.strip().splitlines()[-1:]}")
    return float(done.stdout)


def growth(program: Callable[[], object], device: torch.device) -> float:
    """The memory, MiB, that a program adds to this process at its peak, or to the GPU's."""
    if device.type == "cuda":
        wait(device)  # which starts CUDA in a fresh process
        torch.cuda.reset_peak_memory_stats(device)
        program()
        return torch.cuda.max_memory_allocated(device) / MIB
    before = peak_of_process()
    program()
    return peak_of_process() - before


def peak_of_process() -> float:
    """The greatest memory, MiB, that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage would answer with the peak of the process that started this one
        return int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0]) * 1024 / MIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        described = ""
    found = re.search(r"^model name\s*:\s*(.*)$", described, flags=re.MULTILINE)
    return found[1] if found else platform.processor() or "unknown"
