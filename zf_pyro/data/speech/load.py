"""Recordings of speech, or of anything else, as sequences of frames of a waveform.

* TIMIT, with its official test part;
* Blizzard, an audiobook in long files, every split cut into rows of half a second;
* any audio: rows for training, longer ones for validation and test.

A frame is 200 samples. The first frame of a recording is only conditioned on, and a row cut from within one is preceded
by the frame before it. What is less than a frame at the end of a recording is left out. All numbers are normalised by
one mean and one standard deviation, those of all samples of the training recordings, in units of 16-bit integers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from zf_pyro.data.corpus import Corpus, Observation
from zf_pyro.data.speech.collection import Collection, collect
from zf_pyro.data.speech.settings import SpeechSettings, TimitSettings
from zf_pyro.data.speech.shards import Piece
from zf_pyro.data.speech.timit import OFFICIAL, Utterance, is_complete, utterances
from zf_pyro.data.speech.waveforms import Waveforms
from zf_pyro.data.splits import SPLITS, SplitSettings, assign, one_without, ranking, slashed, split_of
from zf_pyro.errors import InputError

SAMPLE_SECONDS = 3
"""Of each sequence that is drawn from a model."""

Members = dict[str, list[int]]
"""The places of the recordings of each split in a collection."""


def load_audio(data: Path, settings: SpeechSettings, *, say: Callable[[str], None], named: bool = True) -> Corpus:
    """An audiobook, or any folder of audio, split by file.

    Where a folder is named as a validation or test split, all are to be of a split; else the files are ranked by a hash
    of their content, and the ranking is cut.

    Args:
        data: a folder of audio or of prepared audio.
        settings: how to cut it.
        say: is told what a user should know.
        named: whether the names of folders count.

    Raises:
        InputError: there is no audio, it is damaged, or a split would be empty.
    """
    found = collect(data, settings, say)
    order = ranking((piece.sha256.encode() for piece in found.pieces), settings.split_seed)
    folders = [found.pieces[i].name.rpartition("/")[0] for i in order]
    splits_of = {folder: split_of(PurePosixPath(folder)) for folder in set(folders)}
    official = [splits_of[folder] if named else None for folder in folders]
    if not {"valid", "test"} & set(official):  # a folder named "train" alone says nothing of the others
        official = [None] * len(order)
    if (odd := one_without(official)) is not None:
        name = found.pieces[order[odd]].name
        raise InputError(f"{data}: {name} is in no folder named train, valid or test, while other recordings are")
    members = assign(official, settings, str(data), "recordings")
    splits = {name: sorted(order[i] for i in chosen) for name, chosen in members.items()}
    about = f"{described(found, splits, settings)} recordings"
    return corpus(found, splits, settings, data, "row", [about, *found.remarks])


def load_timit(data: Path, settings: TimitSettings, *, say: Callable[[str], None]) -> Corpus:
    """TIMIT, with its official test part; a copy without one is a sample, and split by speaker.

    The validation split is a share of the training part, ranked by a hash of the utterances' names: the same in every
    copy, whatever the form of its files and the case of its letters.

    Args:
        data: the folder of the corpus or of one that holds it, or prepared audio.
        settings: how to cut it.
        say: is told what a user should know.

    Raises:
        InputError: nothing there is named as TIMIT's utterances are, or what `load_audio` raises.
    """
    found = collect(data, settings, say)
    spoken = utterances(piece.name for piece in found.pieces)
    if not spoken:
        raise InputError(
            f"{data}: no file named as TIMIT's are, TRAIN/DR1/FCJF0/SA1.WAV; for other recordings take --dataset audio"
        )
    places = sorted(spoken, key=lambda i: spoken[i])
    official = {spoken[i].part for i in places} >= {"train", "test"}
    if official:  # and a copy elsewhere, outside the two parts, may be of either
        spoken = {i: each for i, each in spoken.items() if each.part}
        places = [i for i in places if i in spoken]
    splits = by_part(places, spoken, settings, data) if official else by_speaker(places, spoken, settings, data)
    remarks = [f"{described(found, splits, settings)} utterances"]
    if not official:
        speakers = len({spoken[i].speaker for i in places})
        remarks.append(f"a sample of TIMIT, without its test part: {speakers} speakers, split by speaker")
    elif not is_complete(spoken.values()):
        remarks.append(f"not the whole corpus, which has {OFFICIAL['train']:,} and {OFFICIAL['test']:,} of them")
    if others := len(found.pieces) - len(spoken):
        remarks.append(f"{others:,} audio files left out that are second copies, or not named as utterances are")
    return corpus(found, splits, settings, data, "utterance", [*remarks, *found.remarks])


def by_part(places: list[int], spoken: dict[int, Utterance], settings: SplitSettings, data: Path) -> Members:
    """TIMIT's official split, some of its training part taken for validation."""
    order = [places[i] for i in ranking((spoken[i].name.encode() for i in places), settings.split_seed)]
    members = assign(["test" if spoken[i].part == "test" else None for i in order], settings, str(data), "utterances")
    return {name: sorted((order[i] for i in chosen), key=lambda i: spoken[i]) for name, chosen in members.items()}


def by_speaker(places: list[int], spoken: dict[int, Utterance], settings: SplitSettings, data: Path) -> Members:
    """A split of some utterances in which no speaker is in two parts."""
    speakers = sorted({spoken[i].speaker for i in places})
    order = [speakers[i] for i in ranking((speaker.encode() for speaker in speakers), settings.split_seed)]
    members = assign([None] * len(order), settings, str(data), "speakers")
    chosen = {name: {order[i] for i in numbers} for name, numbers in members.items()}
    return {name: [i for i in places if spoken[i].speaker in chosen[name]] for name in SPLITS}


def described(found: Collection, splits: Members, settings: SpeechSettings) -> str:
    """How many recordings each split has, and of how many minutes."""
    minutes = " / ".join(f"{found.minutes(splits[name], settings.sample_rate):,.1f}" for name in SPLITS)
    return f"{minutes} minutes to train, validate and test, {slashed(len(splits[name]) for name in SPLITS)}"


def corpus(
    found: Collection, splits: Members, settings: SpeechSettings, data: Path, sequence: str, remarks: Sequence[str]
) -> Corpus:
    """The data set of some recordings that are split."""
    mean, std = moments([found.pieces[i] for i in splits["train"]])
    if not std:
        raise InputError(f"{data}: the training recordings are silent: all their samples are equal")
    parts = {name: cut_split(name, found, splits[name], settings, mean, std) for name in SPLITS}
    if settings.full_rows:
        remarks = [*remarks, *cut_off(found, splits, parts)]
    if empty := [name for name in SPLITS if not len(parts[name].lengths)]:
        raise InputError(
            f"{data}: no full row in the {empty[0]} split; lower chunk_length or evaluation_length, or full_rows=false"
        )
    return Corpus(
        observation=Observation(
            "gaussian",
            settings.frame_size,
            sequence=sequence,
            step="frame",
            sample_steps=max(1, SAMPLE_SECONDS * settings.sample_rate // settings.frame_size),
            rate=settings.sample_rate,
            mean=(mean,),
            std=(std,),
            limits=(-(2**15), 2**15 - 1),
        ),
        train=parts["train"],
        valid=parts["valid"],
        test=parts["test"],
        settings=settings,
        source=f"{data}: {'; '.join(remarks)}",
        origin=str(data.absolute()),
        fingerprint=fingerprint(found, splits, settings),
    )


def cut_off(found: Collection, splits: Members, parts: dict[str, Waveforms]) -> Iterator[str]:
    """What is left of recordings after their full rows, where those alone are taken."""
    size = parts["train"].frame_size
    frames = sum(found.pieces[i].samples // size - 1 for name in SPLITS for i in splits[name])
    missing = frames - sum(int(part.lengths.sum()) for part in parts.values())
    if missing > 0:
        yield f"{missing:,} of {frames:,} frames left out, which are less than a row at the end of a recording"


def cut_split(
    name: str, found: Collection, chosen: list[int], settings: SpeechSettings, mean: float, std: float
) -> Waveforms:
    """The sequences of a split."""
    stream = name != "test" and isinstance(settings, TimitSettings) and settings.protocol == "srnn"
    return Waveforms.of(
        found.tape(chosen),
        frame_size=settings.frame_size,
        mean=mean,
        std=std,
        chunk_length=settings.chunk_length if stream or name == "train" else settings.evaluation_length,
        full_rows=settings.full_rows or stream,
        joined=stream,
    )


def moments(pieces: Sequence[Piece]) -> tuple[float, float]:
    """Mean and standard deviation of all samples of some recordings, by exact sums, whatever their order."""
    count, total = sum(piece.samples for piece in pieces), sum(piece.total for piece in pieces)
    return total / count, math.sqrt(count * sum(piece.squares for piece in pieces) - total**2) / count


def fingerprint(found: Collection, splits: Members, settings: SpeechSettings) -> str:
    """Of the files and of how they are cut: decoders of compressed audio may differ in last bits between machines."""
    fields = ("sample_rate", "frame_size", "chunk_length", "evaluation_length", "full_rows", "protocol")
    digest = hashlib.sha256(repr([getattr(settings, name, None) for name in fields]).encode())
    for name in SPLITS:
        digest.update(b"%d;" % len(splits[name]))
        for i in splits[name]:
            digest.update(found.pieces[i].sha256.encode())
    return digest.hexdigest()
