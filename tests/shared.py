"""Real data that lies beside the checkout on some machines."""

from pathlib import Path

import pytest


def shared_file(name: str) -> Path:
    """A file of the shared data; the test skips where it is absent."""
    path = Path(__file__).parents[2] / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"no shared data {name}")
    return path
