"""The metrics of a run: a line of JSON for every update and every validation."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from zf_pyro.errors import InputError, check
from zf_pyro.files import explained, from_json

METRICS = "metrics.jsonl"

LONGEST = 1 << 16
"""Bytes of a line; a record has less than a thousand."""

LARGEST = 2.0**128
"""Bound on the numbers of single precision."""


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
            InputError: it cannot be opened, is a link, or is shorter than that.
        """
        path = folder / METRICS
        check(not path.is_symlink(), f"{path} is a link, and what it leads to would be written over; copy the file")
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
        InputError: it cannot be read, or a line is damaged, or longer than any record.
    """
    path = folder / METRICS
    with explained(f"cannot read {path}"), path.open("rb") as file:
        for number, line in enumerate(iter(partial(file.readline, LONGEST), b""), 1):
            try:
                record = from_json(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number} is damaged: {error}") from error
            check(is_record(record), f"{path}, line {number} is damaged: it is no record of an update")
            yield record


def is_record(line: object) -> bool:
    """Whether a line of the metrics tells its update, finite numbers, and the steps by which to divide its nats."""
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return False
    if not all(value is None or is_finite(value) for value in line.values()):
        return False
    validated = any(name.startswith("valid_") for name in line)
    lengths = [line.get(name) for name, has in (("length", "elbo" in line), ("valid_length", validated)) if has]
    return all(value is not None and value > 0 for value in lengths)


def is_finite(value: object) -> bool:
    """Whether a value is a number of single precision's range; JSON has larger ones, and Python reads infinity, too."""
    return isinstance(value, int | float) and abs(value) < LARGEST
