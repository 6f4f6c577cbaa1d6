"""The contexts and features of all steps of a path, put together when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from zf_pyro.conditionals import Context
from zf_pyro.kernels.choice import Drawn


class Steps:
    """The contexts and features of all steps of one path, put together a field at a time when first read."""

    def __init__(self) -> None:
        self.fields: dict[str, Tensor] = {}

    def context(self, reads: Iterable[str]) -> Context:
        """The named fields over all steps, each (..., T, B, size); the others None."""
        fields: dict[str, Any] = {name: self.field(name) for name in reads}
        return Context(**fields)

    def field(self, name: str) -> Tensor | None:
        """One field over all steps; None where the transition does not provide it."""
        if name not in self.fields:
            made = self.make(name)
            if made is None:
                return None
            self.fields[name] = made
        return self.fields[name]

    def make(self, name: str) -> Tensor | None:
        """Put a field together, with gradients where its parts have them."""
        raise NotImplementedError

    def computed(self) -> dict[str, Tensor]:
        """The fields that there are."""
        found = {name: self.field(name) for name in ("hidden", "latent", "input", "feature")}
        return {name: field for name, field in found.items() if field is not None}


class ListedSteps(Steps):
    """Of a loop that left the context and the feature of each step."""

    def __init__(self, contexts: list[Context], features: list[Tensor]) -> None:
        super().__init__()
        self.contexts, self.features = contexts, features

    def make(self, name: str) -> Tensor | None:
        """From the parts of all steps."""
        parts = self.features if name == "feature" else [getattr(each, name) for each in self.contexts]
        if parts[0] is None:
            return None
        with torch.set_grad_enabled(any(part.requires_grad for part in parts)):
            return torch.stack(parts, -3) if name == "feature" else self.put_together(parts)

    def put_together(self, parts: list[Tensor]) -> Tensor:
        """The parts of all steps; from the features, where each is the feature of the step before, as h_{t-1} is."""
        if len(parts) > 1 and all(part is feature for part, feature in zip(parts[1:], self.features[:-1], strict=True)):
            features = self.field("feature")
            assert features is not None
            return after(parts[0], features)
        return torch.stack(parts, -3)


class DrawnSteps(Steps):
    """Of a kernel, which left all steps at once: h_{t-1} and z_{t-1} are h_t and z_t moved by a step."""

    def __init__(self, drawn: Drawn, embedded: Tensor) -> None:
        super().__init__()
        self.drawn, self.embedded = drawn, embedded

    def make(self, name: str) -> Tensor | None:
        """From what the kernel left."""
        drawn = self.drawn
        makers: dict[str, Callable[[], Tensor]] = {
            "feature": lambda: drawn.features,
            "input": lambda: self.embedded,
            "hidden": lambda: after(drawn.initial.hidden, drawn.features),
            "latent": lambda: after(drawn.initial.latent, drawn.latents),
        }
        with torch.set_grad_enabled(drawn.features.requires_grad):
            return makers[name]() if name in makers else None

    def computed(self) -> dict[str, Tensor]:
        """Only what the others can be made from."""
        return {"feature": self.drawn.features}


class JoinedSteps(Steps):
    """Of segments, whose fields were put together already."""

    def __init__(self, fields: dict[str, Tensor]) -> None:
        super().__init__()
        self.fields = fields

    def make(self, name: str) -> Tensor | None:
        """None: what there is, is there."""
        return None


def after(first: Tensor, sequences: Tensor) -> Tensor:
    """Sequences (..., T, B, size) moved by a step, `first` (..., B, size) in front and the last step left out."""
    return torch.cat([first.unsqueeze(-3), sequences[..., :-1, :, :]], -3)
