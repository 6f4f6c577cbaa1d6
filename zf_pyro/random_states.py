"""The states of all random generators of a process, as tensors and numbers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_states(device: torch.device) -> dict[str, Any]:
    """PyTorch's on the CPU and on `device`; Python's and NumPy's, which parts of a user's own may draw from."""
    version, words, gauss = random.getstate()
    kind, keys, *numbers = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": [version, torch.tensor(words), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *numbers],
    }


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Go back to what `random_states` returned."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, *numbers = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *numbers))  # noqa: NPY002
