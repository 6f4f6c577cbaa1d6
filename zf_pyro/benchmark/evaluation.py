"""K importance weights for each sequence of a batch: the library's evaluator beside Pyro's own estimate.

path_form         `importance_weights` on the path form
step_form         the same on the step form
renyi             Pyro's RenyiELBO, alpha = 0, on the step form, its particles one after another, as is its default
renyi_vectorized  the same with all K particles in a plate, which takes memory in proportion to K
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from pyro.infer import RenyiELBO

from zf_pyro.benchmark.sizes import Size, build, random_batch
from zf_pyro.paths import Form
from zf_pyro.scopes import evaluating
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms
from zf_pyro.weights import importance_weights


def evaluators(size: Size, num_particles: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """One bound on a random batch by each program, by name."""
    model, guide = build(size)
    model, guide = model.to(device), guide.to(device)
    batch = random_batch(size).to(device)

    def weights(form: Form) -> object:
        return importance_weights(model, guide, batch, num_particles, form=form)

    def renyi(*, vectorized: bool) -> object:
        objective = RenyiELBO(num_particles=num_particles, vectorize_particles=vectorized, max_plate_nesting=1)
        with evaluating(model, guide), skip_terms(AUXILIARY, BACKWARD):
            return objective.loss(model, guide, batch)

    return {
        "path_form": partial(weights, "path"),
        "step_form": partial(weights, "step"),
        "renyi": partial(renyi, vectorized=False),
        "renyi_vectorized": partial(renyi, vectorized=True),
    }
