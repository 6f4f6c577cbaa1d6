"""Text with one sentence a line, in one file or in a folder of files, some of them perhaps official splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zf_pyro.data.splits import one_without, split_in
from zf_pyro.data.text.sources import Document, read_documents, source_files
from zf_pyro.errors import InputError


def read_sentences(path: Path) -> Iterator[Document]:
    """The lines of a source, each a document of its own.

    Of a folder every ``.txt`` and ``.tokens`` file is read. Where a path below the folder holds "train", "valid" or
    "test" as a word (``ptb.valid.txt``, ``test/a.txt``), the first is its split, and every file must be of one.

    Raises:
        InputError: as `read_documents` does, or some files are of a split and others are not.
    """
    if not path.is_dir():
        yield from read_documents(path)
        return
    files = source_files(path)
    splits = [split_in(str(file.relative_to(path))) for file in files]
    if (odd := one_without(splits)) is not None:
        raise InputError(
            f"{files[odd]}: of no split, while other files are; put train, valid or test into its name, or move it"
        )
    for file, split in zip(files, splits, strict=True):
        for document in read_documents(file):
            yield Document(document.text, split)
