"""The state of a training on the disk: the last two, each with the best parameters in it, written whole or not at all.

checkpoint.pt            the newest
checkpoint-previous.pt   the one before
checkpoint-damaged.pt    what was found at the place of the newest, and could not be read
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch

from zf_pyro.config import Config, EvaluationConfig, ModelConfig
from zf_pyro.console import warn
from zf_pyro.errors import InputError, check, first_line
from zf_pyro.fields import by_name, unequal
from zf_pyro.files import explained, write_atomically
from zf_pyro.processes import from_first, world_size

CHECKPOINT, PREVIOUS, DAMAGED = "checkpoint.pt", "checkpoint-previous.pt", "checkpoint-damaged.pt"

FORMAT = 2
"""Of the state; one of another format is refused."""

OF_MODEL = {field.name for field in fields(ModelConfig)}
"""The settings that decide what parameters there are."""

FREE = {
    *("device", "source", "num_workers", "epochs", "max_steps", "save_minutes", "log"),
    *(field.name for field in fields(EvaluationConfig)),
}
"""The settings of a run that may change between two of its checkpoints: none has a say in an update."""


def identified(config: Config, state: dict[str, Any]) -> dict[str, Any]:
    """A state of training with what it is checked by when it is read."""
    return {"format": FORMAT, "config": by_name(config), **state}


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Save a state of training; the one before is kept beside it.

    Raises:
        InputError: the folder cannot be written; the states before are still there.
    """
    with explained(f"cannot save {folder / CHECKPOINT}"):
        write_atomically(folder / CHECKPOINT, lambda file: save(state, file), former=folder / PREVIOUS)


def save(state: dict[str, Any], file: BinaryIO) -> None:
    """`torch.save`, which hides an error of the file system behind one of its own.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of a run; None where it has none.

    It lies at the place of the previous one where a run was killed between two moves of files.
    """
    return next((folder / name for name in (CHECKPOINT, PREVIOUS) if (folder / name).is_file()), None)


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The newest state of training of a run, on the CPU.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = newest(folder)
    if path is None:
        raise InputError(f"{folder} has no {CHECKPOINT} yet; start the run again")
    return read_state(path)


def recover(folder: Path) -> dict[str, Any]:
    """The newest state of training that can be read.

    One that cannot is set aside, so that it never takes the place of the one before.

    Raises:
        InputError: there is none.
    """
    try:
        return read_checkpoint(folder)
    except InputError as error:
        path, previous = folder / CHECKPOINT, folder / PREVIOUS
        if not (path.is_file() and previous.is_file()):
            raise
        try:
            state = read_state(previous)
        except InputError:
            raise error from None
        with explained(f"cannot write into {folder}"):
            path.replace(folder / DAMAGED)
        warn(f"{error}; going on from {PREVIOUS}, the one before it")
        return state


def read_state(path: Path) -> dict[str, Any]:
    """A state of training, on the CPU.

    Raises:
        InputError: it is damaged.
    """
    with readable_checkpoint(path):
        with zipfile.ZipFile(path) as archive:  # torch.load compares no checksums
            unpacked = sum(member.file_size for member in archive.infolist())
            check(
                unpacked <= path.stat().st_size, f"{path} unpacks to {unpacked:,} bytes, and checkpoints are not packed"
            )
            if archive.testzip() is not None:
                raise ValueError("its contents do not have the checksum that they were saved with")
        return torch.load(path, map_location="cpu", weights_only=True)


def of_first(state: dict[str, Any] | None) -> dict[str, Any] | None:
    """The state that the first of several processes has here, or has not, in every process."""
    if world_size() == 1:
        return state
    file = BytesIO()
    if state is not None:
        torch.save(state, file)
    content = from_first(file.getvalue())
    return torch.load(BytesIO(content), map_location="cpu", weights_only=True) if content else None


def require_resumable(path: Path, state: dict[str, Any], config: Config) -> None:
    """Refuse to go on from a state that was saved with other settings, or by another version in another form.

    Raises:
        InputError: it was; all settings that differ are listed.
    """
    with readable_checkpoint(path):
        if state["format"] != FORMAT:
            raise ValueError(f"it has format {state['format']}, and this version reads {FORMAT}")
        found = unequal(state["config"], by_name(config))
    refuse(path, {name: pair for name, pair in found.items() if name not in FREE})


def require_fitting(path: Path, state: dict[str, Any], config: Config) -> None:
    """Refuse a state whose parameters are of another model; one of the first format does not say which it is of.

    Raises:
        InputError: they are; all settings that differ are listed.
    """
    with readable_checkpoint(path):
        found = unequal(state["config"], by_name(config)) if "config" in state else {}
    refuse(path, {name: pair for name, pair in found.items() if name in OF_MODEL})


def refuse(path: Path, found: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse a checkpoint for the settings in which it differs, if there are any."""
    told = ", ".join(f"{name} = {there!r} (now {here!r})" for name, (there, here) in found.items())
    if found:
        raise InputError(f"{path} was saved with other settings than config.toml has: {told}; set them back there")


@contextmanager
def readable_checkpoint(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is the checkpoint's fault, said in one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        missing = f"it has no {error}" if isinstance(error, KeyError) else ""
        reason = missing or first_line(error)
        raise InputError(f"{path} is damaged or of another version: {reason}") from error
