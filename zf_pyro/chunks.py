"""Laws of many parameters a row, made and scored a chunk of rows at a time.

A frame of 200 samples, each a mixture of ten logistics, has 6,000 parameters for every particle, step and sequence.
Together they need more memory than all the rest of a model; a chunk of them, made again where its gradient is taken,
does not. (`zf_pyro.softmax` does the same for a softmax, which is worth its own derivative.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from zf_pyro.conditionals import Conditional, Context, PerceptronConditional, present
from zf_pyro.segments import run_again, segment_count

LIMIT = 1 << 24
"""Parameters that are held together, of however many rows these are, but of one row at least."""


def in_chunks(conditional: Conditional, context: Context) -> TorchDistribution:
    """The law of a conditional given a context, which holds only fields that it reads.

    Where its parameters are no more than `LIMIT` and no segments are asked for, it is what the conditional returns;
    else a `ChunkedLaw`.
    """
    size = conditional.row_size if isinstance(conditional, PerceptronConditional) else 0
    shape = torch.broadcast_shapes(*(field.shape[:-1] for field in present(context).values()))
    count = max(-(-shape.numel() * size // LIMIT), segment_count())
    if count <= 1 or not size:
        return conditional(context)
    return ChunkedLaw(conditional, context, shape, rows=max(1, min(LIMIT // size, -(-shape.numel() // count))))


class ChunkedLaw(TorchDistribution):
    """The law of a conditional given a context, which is made and scored some rows at a time.

    Args:
        conditional: of any kind.
        context: the fields that it reads and no others, (..., B, size).
        batch_shape: that to which their leading dimensions broadcast.
        rows: how many elements of the batch shape are scored together.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own form

    def __init__(self, conditional: Conditional, context: Context, batch_shape: Sequence[int], rows: int) -> None:
        self.conditional, self.context, self.rows = conditional, context, rows
        fields = present(context)
        first: dict[str, Any] = {name: field[(0,) * (field.dim() - 1)].unsqueeze(0) for name, field in fields.items()}
        self.one_row = conditional(Context(**first))
        super().__init__(torch.Size(batch_shape), self.one_row.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the laws of the rows have it."""
        return self.one_row.has_rsample

    @property
    def support(self) -> Any:
        """What the laws of the rows allow."""
        return self.one_row.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> ChunkedLaw:
        """The same law for a larger batch."""
        return ChunkedLaw(self.conditional, self.context, batch_shape, self.rows)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, (sample_shape + batch_shape + event_shape), made all at once."""
        return self.conditional(self.context).expand(self.batch_shape).rsample(torch.Size(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws without gradient, (sample_shape + batch_shape + event_shape), made all at once."""
        return self.conditional(self.context).expand(self.batch_shape).sample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density of each row, (..., B), in nats; its gradient makes the chunks again, one after the other."""
        event = len(self.event_shape)
        shape = torch.broadcast_shapes(value.shape[: value.dim() - event], self.batch_shape)
        fields = present(self.context)
        rows = [field.expand(*shape, field.shape[-1]).reshape(-1, field.shape[-1]) for field in fields.values()]
        rows.append(value.expand(shape + self.event_shape).reshape(-1, *self.event_shape))

        def score(*chunk: Tensor) -> Tensor:
            *parts, values = chunk
            given: dict[str, Any] = dict(zip(fields, parts, strict=True))
            return self.conditional(Context(**given)).log_prob(values)

        chunks = zip(*(each.split(self.rows) for each in rows), strict=True)
        return torch.cat([run_again(score, *chunk) for chunk in chunks]).reshape(shape)
