"""How long the updates of a run took: a file of its own, since no two runs of the same numbers agree in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from zf_pyro.files import explained, from_json, write_text
from zf_pyro.metrics import to_json
from zf_pyro.processes import world_size

TIMING = "timing.json"


def write_timing(folder: Path, durations: Sequence[float], device: str) -> None:
    """Write the median seconds of an update, and on what they were taken, by how many processes at the end.

    Args:
        folder: the run.
        durations: seconds of each update, those before an interruption included.
        device: of the training.

    Raises:
        InputError: the folder cannot be written.
    """
    figures = {
        "seconds_per_step": median(durations) if durations else None,
        "updates": len(durations),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "num_threads": torch.get_num_threads(),
        "num_processes": world_size(),
    }
    with explained(f"cannot write into {folder}"):
        write_text(folder / TIMING, to_json(figures, indent=2) + "\n")


def read_timing(folder: Path) -> dict[str, Any]:
    """What `write_timing` wrote; empty where nothing that can be read is there, as in older runs."""
    try:
        figures = from_json((folder / TIMING).read_bytes())
    except (OSError, ValueError):
        return {}
    return figures if isinstance(figures, dict) else {}
