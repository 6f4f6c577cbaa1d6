"""What stands in the folder of somebody who follows README and docs: small data under the names used there."""

from __future__ import annotations

import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np

from tests.sounds import SMALL as SPEAKERS
from tests.sounds import recordings, write_timit
from tests.toy_runs import SIZES, TINY, toy_documents

SWEEP = """
dataset = "jsb"
preset = "quick"
data = "jsb_raw_batchsize16_seqlen100.npz"
epochs = 1
[[run]]
name = "plain"
[[run]]
family = "rnn"
"""


def furnish(folder: Path) -> None:
    """Write all that the pages name and do not make, but for runs."""
    write_texts(folder)
    bits = np.random.default_rng(0).integers(0, 2, (12, 6, 4))
    np.savez(folder / "mine.npz", **{f"sequence_{i}": each for i, each in enumerate(bits)})
    write_images(folder / "mnist")
    write_music(folder / "jsb_raw_batchsize16_seqlen100.npz")
    (folder / "jsb.toml").write_text(short_sweep(SWEEP))
    write_timit(folder / "TIMIT", SPEAKERS, length=lambda number: 1_000)
    for name in ("recordings", "blizzard"):
        recordings(folder / name, count=24 if name == "blizzard" else 10, least=8_300)


def write_texts(folder: Path) -> None:
    """Lines, documents in every form that the pages name, and a corpus in three files."""
    documents = toy_documents(60)
    for name in ("mine.txt", "reviews.txt", "aclImdb"):
        (folder / name).write_text("\n".join(documents))
    (folder / "ptb").mkdir()
    for number, split in enumerate(("train", "valid", "test")):
        (folder / "ptb" / f"ptb.{split}.txt").write_text("\n".join(toy_documents(20, seed=number)))
    tree = folder / "tree"
    for number, document in enumerate(documents):
        path = tree / ("train", "test")[number % 2] / ("pos", "neg")[number % 4 // 2] / f"{number}_1.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document)
    with tarfile.open(folder / "aclImdb_v1.tar.gz", "w:gz") as archive:
        archive.add(tree, "aclImdb")
    shutil.rmtree(tree)


def write_images(folder: Path) -> None:
    """Grey images of 4 x 3 pixels in MNIST's files."""
    folder.mkdir()
    for seed, (part, count) in enumerate((("train", 18), ("t10k", 4))):
        images = np.random.default_rng(seed).integers(0, 256, (count, 4, 3), dtype=np.uint8)
        header = struct.pack(">4I", 2051, *images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())


def write_music(path: Path) -> None:
    """Rows of piano rolls as SRNN's authors lay them out."""
    held = {}
    for seed, split in enumerate(("train", "valid", "test")):
        rolls = (np.random.default_rng(seed).random((4, 7, 88)) < 0.1).astype(np.float32)
        held |= {f"u_{split}": rolls[:, :-1], f"x_{split}": rolls[:, 1:]}
    np.savez(path, **held, mask_test=np.ones((4, 6), np.float32))


def shortened(command: str, words: list[str]) -> list[str]:
    """The words of a command with what makes it short, and with text of this folder for the packaged reviews."""
    if command == "benchmark":
        return [*words, "--repeats", "1"]
    if command != "train" or "--resume" in words or "--config" in words:
        return words
    samples = "imdb" in words and "--data" not in words
    return [*words, *(["--data", "reviews.txt"] if samples else []), *TINY]


def short_sweep(text: str) -> str:
    """A sweep's file whose runs are as small as `TINY`."""
    fields = {**SIZES, "max_steps": 2, "num_samples": 1, "num_particles": 3}
    return "".join(f"{name} = {value}\n" for name, value in fields.items()) + text
