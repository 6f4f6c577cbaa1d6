"""Downloads from a server on this machine that misbehaves on demand."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from zf_pyro.data.text import download
from zf_pyro.data.text.download import fetch
from zf_pyro.errors import InputError

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers with ``server.content``; see ``Server`` for how it misbehaves."""

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if asked and start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if asked and server.ranges else 200)
        if asked and server.ranges:
            first = start + server.wrong_start
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        if server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.break_after])

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    content = CONTENT
    status = 200
    ranges = True
    tells_length = True
    wrong_start = 0
    break_after: int | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/reviews.tar.gz"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    running = Server(("127.0.0.1", 0), Handler)
    running.asked = []
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made" / "reviews.tar.gz"


def part_of(path):
    return path.with_name(path.name + ".part")


def get(server, path):
    fetch(server.url, path, sha256=SHA256, size=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert not part_of(path).exists()


def failure(server, path):
    with pytest.raises(InputError) as caught:
        fetch(server.url, path, sha256=SHA256, size=len(CONTENT))
    assert not path.exists()
    assert "\n" not in str(caught.value)
    assert server.url in str(caught.value)
    return str(caught.value)


def leave_part(path, content):
    path.parent.mkdir()
    part_of(path).write_bytes(content)


def test_whole_file(server, path):
    get(server, path)
    assert server.asked == [None]


def test_file_that_is_there_is_not_fetched_again(server, path):
    get(server, path)
    get(server, path)
    assert server.asked == [None]


def test_damaged_file_is_replaced(server, path):
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    get(server, path)


def test_broken_connection_is_resumed(server, path):
    server.break_after = 100_000
    assert "broke off after 100,000 of 300,000 bytes; run it again to resume" in failure(server, path)
    assert part_of(path).stat().st_size == 100_000
    server.break_after = None
    get(server, path)
    assert server.asked == [None, "bytes=100000-"]


def test_server_that_ignores_ranges(server, path):
    leave_part(path, CONTENT[:1000])
    server.ranges = False
    get(server, path)
    assert server.asked == ["bytes=1000-"]


def test_part_that_is_too_long(server, path):
    leave_part(path, CONTENT + b"more")
    get(server, path)
    assert server.asked == [None]


def test_part_that_is_whole_already(server, path):
    leave_part(path, CONTENT)
    get(server, path)
    assert server.asked == []


def test_part_of_another_file(server, path):
    leave_part(path, bytes(1000))
    assert "SHA-256" in failure(server, path)
    assert not part_of(path).exists()
    get(server, path)


def test_range_that_the_server_refuses(server, path):
    server.content = CONTENT[:1000]
    leave_part(path, CONTENT[:2000])
    assert "offers 1000 bytes where 300000 are expected" in failure(server, path)
    assert server.asked == ["bytes=2000-", None]
    server.content = CONTENT
    get(server, path)


def test_wrong_content(server, path):
    server.content = bytes(len(CONTENT))
    assert "SHA-256" in failure(server, path)
    assert not part_of(path).exists()


def test_sign_in_page_does_not_spoil_the_part(server, path):
    leave_part(path, CONTENT[:1000])
    server.content, server.ranges = b"<html>please sign in</html>", False
    assert "offers 27 bytes" in failure(server, path)
    assert part_of(path).read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("surplus", [0, 200_000])
def test_length_that_the_server_does_not_tell(server, path, surplus):
    server.tells_length = False
    server.content = CONTENT + bytes(surplus)
    if surplus:
        assert "SHA-256" in failure(server, path)
        assert not part_of(path).exists()
    else:
        get(server, path)


def test_wrong_byte(server, path):
    leave_part(path, CONTENT[:1000])
    server.wrong_start = 1
    assert "wrong byte" in failure(server, path)


@pytest.mark.parametrize("status", [404, 503])
def test_refusal(server, path, status):
    server.status = status
    assert f"the server answers {status}" in failure(server, path)


def test_no_server(path, server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(InputError, match=r"the network failed .*; run it again to resume"):
            fetch(url, path, sha256=SHA256, size=len(CONTENT))


def test_silent_server(path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(InputError, match=r"the network failed \(.*timed out\)"):
            fetch(url, path, sha256=SHA256, size=len(CONTENT))


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        fetch(server.url, tmp_path / "file" / "x", sha256=SHA256, size=len(CONTENT))
