"""One file over HTTP, resumed where it broke off and checked before it is used."""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from zf_pyro.errors import InputError
from zf_pyro.files import sha256_of

ARCHIVE_URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
"""The Large Movie Review Dataset (Maas et al., ACL 2011), as its authors offer it."""
ARCHIVE_SIZE = 84_125_825
"""Bytes of the archive."""
ARCHIVE_SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"
"""Of the archive, in hexadecimal digits."""

TIMEOUT = 30.0
"""Seconds without an answer or a byte after which a connection counts as broken."""

_CHUNK = 1 << 16


def fetch(url: str, path: Path, *, sha256: str, size: int) -> None:
    """Downloads a file to ``path``, where it appears only whole and checked.

    What has arrived so far stands in ``path`` + ".part"; another call goes on from there if the server can, and from
    the start if it cannot. A file that stands at ``path`` with the right content is left alone.

    Args:
        url: of the file.
        path: where to put it; the folder is made if it is missing.
        sha256: what the file must hash to, in hexadecimal digits.
        size: its length in bytes.

    Raises:
        InputError: the network failed (the part is kept), the server's file has another size, its content has another
            hash (the part is removed), or ``path`` cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with _on_disk(path):
        if path.is_file() and sha256_of(path) == sha256:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if part.is_file() and part.stat().st_size > size:
            part.unlink()
        if not part.is_file() or part.stat().st_size < size:
            _receive(url, part, size)
        if sha256_of(part) != sha256:
            part.unlink()
            raise InputError(f"{url}: what arrived is not the expected file (its SHA-256 differs); try again later")
        os.replace(part, path)


def _receive(url: str, part: Path, size: int) -> None:
    """Brings the part to its full size."""
    with _on_network(url):
        response = _connect(url, part)
    with response:
        resumed = response.status == 206
        have = part.stat().st_size if resumed else 0
        _check_offer(response, url, have, size)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(desc=part.stem, total=size, initial=have, unit="B", unit_scale=True, disable=None) as bar,
        ):
            for chunk in _chunks(response, url):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
                if have > size:
                    break
    if have < size:
        raise InputError(f"{url}: broke off after {have:,} of {size:,} bytes; run it again to resume")


def _connect(url: str, part: Path) -> http.client.HTTPResponse:
    """The server's answer to a request for what the part lacks; for all of it, if the server knows no such range."""
    have = part.stat().st_size if part.is_file() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        return urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
    return urlopen(Request(url), timeout=TIMEOUT)


def _check_offer(response: http.client.HTTPResponse, url: str, have: int, size: int) -> None:
    """Refuses another file before it spoils the part: a sign-in page of the network, or a changed original."""
    if response.status == 206:
        offered = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not offered or int(offered[1]) != have:
            raise InputError(f"{url}: the server resumed at the wrong byte; remove the .part file and run it again")
        total = offered[2]
    else:
        total = response.headers.get("Content-Length", str(size))
    if total != str(size):
        raise InputError(f"{url}: offers {total} bytes where {size} are expected; get the file another way")


def _chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        with _on_network(url):
            chunk = response.read1(_CHUNK)
        if not chunk:
            return
        yield chunk


@contextmanager
def _on_network(url: str) -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        raise InputError(f"{url}: the server answers {error.code} {error.reason}; try again later") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise InputError(f"{url}: the network failed ({reason}); run it again to resume") from error


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error
