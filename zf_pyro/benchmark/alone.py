"""One program in a process of its own, for its peak memory: ``python -m zf_pyro.benchmark.alone TASK``.

TASK is a JSON object: ``{"size": "text", "program": "path_form", "device": "cpu", "threads": 2}``, perhaps with
``"steps"``, another T, and with ``"num_particles"``, which makes it an evaluation. Prints MiB.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from zf_pyro.benchmark.contenders import contenders
from zf_pyro.benchmark.evaluation import evaluators
from zf_pyro.benchmark.measure import growth
from zf_pyro.benchmark.sizes import SIZES
from zf_pyro.scopes import local_parameters, prepare_torch


def measure(task: Mapping[str, Any]) -> float:
    """MiB at the peak of making the program and running it twice."""
    device = torch.device(task["device"])
    size = SIZES[task["size"]]
    size = replace(size, steps=task.get("steps", size.steps))

    def program() -> None:
        with local_parameters():
            made: Mapping[str, Callable[[], object]] = (
                evaluators(size, task["num_particles"], device)
                if "num_particles" in task
                else contenders(size, device, [task["program"]])
            )
            for _ in range(2):
                made[task["program"]]()

    return growth(program, device)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    prepare_torch()
    torch.set_num_threads(given["threads"])
    print(measure(given))
