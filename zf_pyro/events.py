"""The metrics of a run as events for TensorBoard: a view of metrics.jsonl, made anew from it when a run goes on."""

from __future__ import annotations

import math
import os
import socket
from importlib import import_module
from pathlib import Path
from time import time
from typing import Any, BinaryIO

from zf_pyro.config import Config
from zf_pyro.errors import InputError, check
from zf_pyro.files import explained
from zf_pyro.metrics import read_metrics
from zf_pyro.reporting import Reporter

FOLDER = "tensorboard"
EVENTS = "events.out.tfevents.*"
"""The folder in a run's, and the files in it; TensorBoard looks for such names."""

PER_STEP = ("elbo", "iw_bound", "kl", "auxiliary")
"""What is logged in nats per step, too."""

COUNTS = ("step", "valid_sequences", "valid_particles")
"""What of a record is no curve."""


def require_log(config: Config) -> None:
    """Find out before anything slow whether what is asked for can be logged.

    Raises:
        InputError: TensorBoard's package is not installed, or does not load.
    """
    if config.training.log == "tensorboard":
        library("tensorboard.summary.writer.record_writer")


def library(name: str) -> Any:
    """A module of the extra "tensorboard".

    Raises:
        InputError: it is not installed, or does not load.
    """
    try:
        return import_module(name)
    except Exception as error:  # a version of protobuf that does not fit raises TypeError
        reason = " ".join(str(error).split())
        raise InputError(
            f"log = tensorboard needs TensorBoard's package, which cannot be used here ({reason}); "
            'pip install -e ".[tensorboard]", or set log = "jsonl"'
        ) from error


class Events(Reporter):
    """Writes what the metrics hold, and then what they are given.

    TensorBoard's own writer writes in a thread, in which a full disk leaves a traceback.
    """

    def __init__(self, folder: Path) -> None:
        """Open an event file in the folder of a run, in the place of those that are there.

        Raises:
            InputError: it cannot be written, or the metrics cannot be read.
        """
        self.event = library("tensorboard.compat.proto.event_pb2").Event
        self.summary = library("tensorboard.compat.proto.summary_pb2").Summary
        path = folder / FOLDER
        check(not path.is_symlink(), f"{path} is a link, and what it leads to would be written over; remove it")
        with explained(f"cannot write into {path}"):
            path.mkdir(exist_ok=True)
            remove_events(path)
            name = EVENTS.replace("*", f"{int(time()):010}.{socket.gethostname()}.{os.getpid()}")
            self.file: BinaryIO = (path / name).open("wb")
        self.records = library("tensorboard.summary.writer.record_writer").RecordWriter(self.file)
        self.write(file_version="brain.Event:2")
        for record in read_metrics(folder):
            self.add(record)

    def on_update(self, record: dict[str, Any]) -> None:
        """Log it."""
        self.add(record)

    def on_validation(self, record: dict[str, Any]) -> None:
        """Log it, and let TensorBoard see everything up to here."""
        self.add(record)
        with explained("cannot write the events for TensorBoard"):
            self.file.flush()

    def add(self, record: dict[str, Any]) -> None:
        """Log a line of the metrics."""
        values = [self.summary.Value(tag=tag, simple_value=value) for tag, value in scalars(record).items()]
        self.write(step=record["step"], summary=self.summary(value=values))

    def write(self, **fields: Any) -> None:
        """Append an event."""
        with explained("cannot write the events for TensorBoard"):
            self.records.write(self.event(wall_time=time(), **fields).SerializeToString())

    def close(self) -> None:
        """Flush and close."""
        with explained("cannot write the events for TensorBoard"):
            self.file.close()


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """The curves that a line of the metrics has a point of: ``train/elbo``, ``valid/elbo``, ``valid/elbo_per_step``.

    They are in nats per sequence, those called so in nats per step; what is not finite is NaN.
    """
    length = record["valid_length"] if "valid_length" in record else record["length"]
    found = {}
    for name, value in record.items():
        if name in COUNTS:
            continue
        short = name.removeprefix("valid_")
        tag = f"{'train' if short == name else 'valid'}/{short}"
        found[tag] = value if value is not None and math.isfinite(value) else math.nan
        if short in PER_STEP:
            found[f"{tag}_per_step"] = found[tag] / length
    return found


def remove_events(path: Path) -> None:
    """Remove the events that a run has logged into a folder.

    Raises:
        OSError: one cannot be removed.
    """
    for each in path.glob(EVENTS):
        each.unlink()
