"""The metrics of a run: a line of JSON for every update and every validation."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from zf_pyro.errors import InputError
from zf_pyro.files import explained

METRICS = "metrics.jsonl"


def to_json(table: dict[str, Any], indent: int | None = None) -> str:
    """A table, perhaps of tables and lists, as JSON; what is not finite becomes null, since JSON has no word for it."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: finite(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [finite(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(table), indent=indent, allow_nan=False)


class Metrics:
    """The metrics file of a run, appended to."""

    def __init__(self, folder: Path, size: int = 0) -> None:
        """Open the file, dropping what lies beyond its first `size` bytes.

        Raises:
            InputError: it cannot be opened, or is shorter than that.
        """
        path = folder / METRICS
        with explained(f"cannot write {path}"):
            self.file: BinaryIO = path.open("r+b" if size else "w+b")
            if path.stat().st_size < size:
                raise InputError(f"{path} is shorter than when the checkpoint was saved; start the run again")
            self.file.truncate(size)
            self.file.seek(size)

    def write(self, record: dict[str, float | int]) -> None:
        """Append a line."""
        with explained("cannot write the metrics"):
            self.file.write(to_json(record).encode() + b"\n")

    def size(self) -> int:
        """Bytes so far, all of them on the disk: a checkpoint that counts on them must not outlive them."""
        with explained("cannot write the metrics"):
            self.file.flush()
            os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        """Flush and close."""
        with explained("cannot write the metrics"):
            self.file.close()


def check_metrics(folder: Path, size: int) -> None:
    """Refuse metrics that are damaged before their first `size` bytes, which a resumed run builds on.

    Raises:
        InputError: the file cannot be read, is too short, or holds a line that is no JSON.
    """
    Metrics(folder, size).close()
    for _ in read_metrics(folder):
        pass


def read_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a run's metrics file.

    Raises:
        InputError: it cannot be read, or a line is damaged.
    """
    path = folder / METRICS
    with explained(f"cannot read {path}"), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number} is damaged: {error}") from error
