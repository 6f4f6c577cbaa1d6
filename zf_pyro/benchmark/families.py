"""One training step of every family at the sizes of the preset for chorales, in the path form, on random notes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from zf_pyro.benchmark.contenders import ALPHA, BETA, InForm, training_step
from zf_pyro.build import build
from zf_pyro.config import ModelConfig
from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Observation
from zf_pyro.parts import FAMILIES
from zf_pyro.scopes import local_parameters

STEPS, SEQUENCES, NOTES = 60, 16, 88
SIZES = {"embedding_size": 128, "hidden_size": 300, "latent_size": 64, "mlp_size": 128}


def family_steps(device: torch.device) -> dict[str, Callable[[], None]]:
    """A training step of each family: forward, backward, Adam; of Z-Forcing with both added terms."""
    frames = torch.rand(SEQUENCES, STEPS, NOTES).lt(0.05)
    batch = SequenceBatch.from_sequences(list(frames)).to(device)
    return {name: family_step(name, batch, device) for name in FAMILIES}


def family_step(family: str, batch: SequenceBatch, device: torch.device) -> Callable[[], None]:
    """A training step of one family."""
    config = ModelConfig(**SIZES, family=family, transition_mlp=False, input_dropout=0.0)  # type: ignore[arg-type]
    model, guide = build(config, Observation("bernoulli", NOTES))
    model, guide = model.to(device), guide.to(device)
    weights = (ALPHA, BETA) if family == "zforcing" else (0.0, 0.0)
    step = training_step(InForm(model, guide, "path", *weights), batch)

    def alone() -> None:
        with local_parameters():
            step()

    return alone
