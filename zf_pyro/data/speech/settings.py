"""How recordings become a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zf_pyro.data.splits import SplitSettings
from zf_pyro.errors import InputError


@dataclass(frozen=True)
class SpeechSettings(SplitSettings):
    """How recordings become a data set."""

    sample_rate: int = 16_000
    """Samples a second; recordings of another rate are resampled."""
    frame_size: int = 200
    """Samples a step."""
    chunk_length: int = 40
    """Training recordings are cut into rows of at most this many frames; 0 leaves them whole."""
    evaluation_length: int = 800
    """Validation and test recordings likewise."""
    full_rows: bool = False
    """Leave out what is left of a recording, at its end, after rows of those lengths."""
    damaged: Literal["refuse", "skip"] = "refuse"
    """What to do about audio files that are truncated, empty or broken."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        least = {"sample_rate": 1_000, "frame_size": 1, "chunk_length": 0, "evaluation_length": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InputError(f"{name} = {getattr(self, name)}: it is to be at least {bound:,}")


@dataclass(frozen=True)
class TimitSettings(SpeechSettings):
    """How TIMIT becomes a data set."""

    evaluation_length: int = 0
    """Validation and test utterances are whole."""
    protocol: Literal["utterance", "srnn"] = "utterance"
    """"srnn": training and validation utterances are joined to one stream each, as SRNN's authors published the set:
    frames and rows cross the borders of utterances, and what is less than a row at the end is left out."""
