"""The two terms that Z-Forcing adds to the evidence lower bound, and their home in a guide's trace.

A guide records each as a site that Pyro's own objectives and importance weights do not see: an observed `Delta` of zero
weight, marked auxiliary, whose value is the term per sequence. `ZForcingELBO` reads the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor

AUXILIARY = "auxiliary"
BACKWARD = "backward"

_skipped: ContextVar[frozenset[str]] = ContextVar("skipped", default=frozenset())


@contextmanager
def skip_terms(*names: str) -> Iterator[None]:
    """Inside, guides leave these terms out without computing them; where nobody reads a term, it costs nothing."""
    token = _skipped.set(_skipped.get() | set(names))
    try:
        yield
    finally:
        _skipped.reset(token)


def record_term(name: str, compute: Callable[[], Tensor]) -> None:
    """Record a term from inside a guide's plate of sequences, unless it is skipped.

    Args:
        name: `AUXILIARY` or `BACKWARD`.
        compute: returns the term in nats per sequence, (..., B).
    """
    if name in _skipped.get():
        return
    value = compute()
    infer: Any = {"is_auxiliary": True, "term": name}
    pyro.sample(name, dist.Delta(value).mask(False), obs=value, infer=infer)
