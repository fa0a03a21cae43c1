"""Downloads from a local server that misbehaves by script: one behaviour per expected request."""

import fcntl
import hashlib
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chestrobust.data.sources.download import CHUNK, download
from chestrobust.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
BODY = random.Random(0).randbytes(5 * CHUNK + 123)
MD5 = hashlib.md5(BODY).hexdigest()
BAD = BODY[:-1] + bytes([BODY[-1] ^ 1])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self)
        # An unexpected request gets an answer that no test expects.
        behaviour = self.server.script.pop(0) if self.server.script else reply(418)
        behaviour(self)

    do_CONNECT = do_GET

    def log_message(self, *args):
        pass


def reply(status, body=b"", length=None, **headers):
    """Sends `body` but announces `length` bytes; `Retry_After=1` becomes `Retry-After: 1`."""

    def behaviour(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", len(body) if length is None else length)
        handler.end_headers()
        handler.wfile.write(body)

    return behaviour


def rest(start, stop=None):
    """What a server sends for `Range: bytes=start-`, or only a part of that, up to `stop`."""
    stop = stop or len(BODY)
    return reply(206, BODY[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(BODY)}")


def stall_after(behaviour):
    def stalling(handler):
        behaviour(handler)
        handler.server.released.wait()

    return stalling


whole = reply(200, BODY)
truncated = reply(200, BODY[: 2 * CHUNK], length=len(BODY))  # The connection closes after 2 chunks.


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.script, server.requests, server.released = [], [], threading.Event()
        server.address = f"http://127.0.0.1:{server.server_port}"
        server.url = server.address + "/x.npz"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "x.npz"


@pytest.fixture
def part(path):
    path.parent.mkdir()
    return path.with_name("x.npz.part")


@pytest.fixture
def sleeps(monkeypatch):
    """Records the seconds slept between requests instead of sleeping."""
    seconds = []
    monkeypatch.setattr("chestrobust.data.sources.download.time.sleep", seconds.append)
    return seconds


def fetch(server, path, *script, url=None, **options):
    server.script[:] = script
    options = {"md5": MD5, "backoff": 0, "timeout": 5} | options
    download(url or server.url, path, **options)


def failure(server, path, *script, **options):
    """The message of a download that must fail."""
    with pytest.raises(DataError) as caught:
        fetch(server, path, *script, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message and options.get("url", server.url) in message
    return message


def ranges(server):
    return [request.headers.get("Range") for request in server.requests]


def assert_complete(path):
    assert path.read_bytes() == BODY
    assert os.listdir(path.parent) == [path.name]


def test_success_creates_the_folder_and_shows_a_bar(server, path, capsys):
    fetch(server, path, whole)
    assert_complete(path)
    assert ranges(server) == [None]
    assert server.requests[0].headers["Accept-Encoding"] == "identity"
    out, err = capsys.readouterr()
    assert out == ""
    assert "x.npz: 100%" in err and "B/s" in err


def test_truncated_body_is_resumed(server, path, capsys):
    fetch(server, path, truncated, rest(2 * CHUNK))
    assert_complete(path)
    assert ranges(server) == [None, f"bytes={2 * CHUNK}-"]
    assert "x.npz: 100%" in capsys.readouterr().err  # The bar goes on where it was.


def test_broken_run_keeps_its_bytes_and_the_next_run_resumes(server, path, part):
    message = failure(server, path, truncated, attempts=1)
    assert "broke off" in message
    assert part.read_bytes() == BODY[: 2 * CHUNK]
    assert not path.exists()
    fetch(server, path, rest(2 * CHUNK))
    assert_complete(path)
    assert ranges(server) == [None, f"bytes={2 * CHUNK}-"]


def test_range_shorter_than_asked_for_is_resumed(server, path, part):
    part.write_bytes(BODY[:100])
    fetch(server, path, rest(100, 300), rest(300))
    assert_complete(path)
    assert ranges(server) == ["bytes=100-", "bytes=300-"]


def test_server_that_ignores_range_starts_over(server, path, part):
    part.write_bytes(BODY[:100])
    fetch(server, path, whole)
    assert_complete(path)
    assert ranges(server) == ["bytes=100-"]


def test_range_that_does_not_fit_starts_over(server, path, part):
    part.write_bytes(BODY[:100])
    fetch(server, path, rest(50), whole)
    assert_complete(path)
    assert ranges(server) == ["bytes=100-", None]


def test_complete_part_needs_no_body(server, path, part):
    part.write_bytes(BODY)
    fetch(server, path, reply(416))
    assert_complete(path)
    assert ranges(server) == [f"bytes={len(BODY)}-"]


def test_part_that_is_too_long_starts_over(server, path, part):
    part.write_bytes(BODY + b"more")
    fetch(server, path, reply(416), whole)
    assert_complete(path)
    assert ranges(server) == [f"bytes={len(BODY) + 4}-", None]


@pytest.mark.parametrize("attempts", [1, 5])
def test_bad_part_is_fetched_once_more_from_zero(server, path, part, attempts):
    part.write_bytes(b"\0" * 100)
    fetch(server, path, rest(100), whole, attempts=attempts)
    assert_complete(path)
    assert ranges(server) == ["bytes=100-", None]


def test_wrong_content_leaves_nothing_behind(server, path):
    message = failure(server, path, reply(200, BAD))
    assert f"MD5 is {hashlib.md5(BAD).hexdigest()}, expected {MD5}" in message
    assert os.listdir(path.parent) == []
    assert len(server.requests) == 1


def test_wrong_content_after_a_resumed_one_leaves_nothing_behind(server, path, part):
    part.write_bytes(b"\0" * 100)
    message = failure(server, path, rest(100), reply(200, BAD))
    assert f"MD5 is {hashlib.md5(BAD).hexdigest()}, expected {MD5}" in message
    assert os.listdir(path.parent) == []
    assert len(server.requests) == 2


def test_wrong_content_from_a_server_that_ignores_range_is_final(server, path, part):
    part.write_bytes(BODY[:100])
    assert "MD5 is" in failure(server, path, reply(200, BAD), whole)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [403, 404, 410, 416])
def test_client_error_fails_at_once(server, path, capsys, status):
    assert f"HTTP {status}" in failure(server, path, reply(status, b"Sorry"))
    assert len(server.requests) == 1
    assert os.listdir(path.parent) == []
    assert capsys.readouterr().err == ""


def test_existing_file_is_untouched_by_a_failure(server, path):
    path.parent.mkdir()
    path.write_bytes(b"good")
    for script in ([reply(404)], [reply(200, BAD)], [truncated]):
        failure(server, path, *script, attempts=1)
        assert path.read_bytes() == b"good"


def test_existing_file_is_replaced_by_a_success(server, path):
    path.parent.mkdir()
    path.write_bytes(b"old")
    fetch(server, path, whole)
    assert_complete(path)


def test_server_errors_are_retried_with_doubling_pauses(server, path, sleeps):
    fetch(server, path, reply(500), reply(502), reply(503), whole, backoff=0.5)
    assert_complete(path)
    assert sleeps == [0.5, 1, 2]


def test_gives_up_after_the_last_attempt(server, path, sleeps):
    assert "HTTP 500" in failure(server, path, *[reply(500)] * 3, whole, attempts=3, backoff=1)
    assert len(server.requests) == 3
    assert sleeps == [1, 2]


@pytest.mark.parametrize("header, seconds", [("7", 7), ("3600", 60), ("soon", 0.5)])
def test_retry_after_is_honoured_up_to_a_minute(server, path, sleeps, header, seconds):
    fetch(server, path, reply(429, Retry_After=header), whole, backoff=0.5)
    assert_complete(path)
    assert sleeps == [seconds]


@pytest.mark.parametrize("hours, seconds", [(1, 60), (-1, 0.5)])
def test_retry_after_may_be_a_date(server, path, sleeps, hours, seconds):
    header = formatdate(time.time() + 3600 * hours, usegmt=True)
    fetch(server, path, reply(503, Retry_After=header), whole, backoff=0.5)
    assert_complete(path)
    assert sleeps == [seconds]


def test_redirect_is_followed(server, path):
    fetch(server, path, reply(302, Location="/elsewhere"), whole)
    assert_complete(path)
    assert [request.path for request in server.requests] == ["/x.npz", "/elsewhere"]


def test_silent_server_is_asked_again(server, path):
    silent = stall_after(lambda handler: None)
    fetch(server, path, silent, whole, timeout=0.3)
    assert_complete(path)
    assert ranges(server) == [None, None]


def test_stalled_body_is_resumed(server, path):
    fetch(server, path, stall_after(truncated), rest(2 * CHUNK), timeout=0.3)
    assert_complete(path)
    assert ranges(server) == [None, f"bytes={2 * CHUNK}-"]


def test_refused_connection_says_so_and_shows_no_bar(server, path, capsys, sleeps):
    with socket.socket() as unused:  # Bound but not listening, so nobody else gets the port.
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x.npz"
        message = failure(server, path, url=url, attempts=3, backoff=1)
    assert "No answer from 127.0.0.1: " in message and message.endswith("Connection refused")
    assert sleeps == [1, 2]
    assert os.listdir(path.parent) == []
    assert capsys.readouterr().err == ""


def test_error_hides_what_the_caller_was_handling(server, path):
    try:
        raise KeyError("the caller's own")
    except KeyError:
        message = failure(server, path, truncated, attempts=1)
    assert "broke off" in message and "the caller's own" not in message


def test_proxy_is_used(server, path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    fetch(server, path, whole, url="http://example.invalid/x.npz")
    assert_complete(path)
    assert [request.path for request in server.requests] == ["http://example.invalid/x.npz"]


def test_proxy_of_https_is_asked_to_connect(server, path, monkeypatch):
    monkeypatch.setenv("https_proxy", server.address)
    message = failure(server, path, *[reply(502)] * 2, url="https://example.invalid/x.npz", attempts=2)
    assert "No answer from example.invalid: " in message and "502" in message
    assert [(request.command, request.path) for request in server.requests] == [("CONNECT", "example.invalid:443")] * 2
    assert os.listdir(path.parent) == []


def test_no_proxy_is_respected(server, path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://example.invalid:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch(server, path, whole)
    assert_complete(path)


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://example.invalid/x", "http://[::1", "http://", "http://\u00ff..\u00ff/", "//"],
)
def test_redirect_to_something_else_fails_at_once(server, path, sleeps, location):
    failure(server, path, reply(302, Location=location.encode().decode("latin1")))
    assert sleeps == []
    assert os.listdir(path.parent) == []


def test_redirects_in_a_circle_end(server, path, sleeps):
    assert "redirects" in failure(server, path, *[reply(302, Location="/x.npz")] * 100)
    assert len(server.requests) < 40
    assert sleeps == []


def raw(content):
    """Sends bytes that need not be HTTP, and closes the connection."""

    def behaviour(handler):
        handler.wfile.write(content)
        handler.close_connection = True

    return behaviour


OK = b"HTTP/1.0 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"\xff" * 70_000,
        OK + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
        OK + b"X: y\r\n" * 1000 + b"\r\n",
        OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nx",
        OK + b"Content-Length: -5\r\n\r\nx",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nxxxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " + b"9" * 60_000 + b"\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After: Mon, 01 Jan 0001 00:00:00\r\n\r\n",
    ],
)
def test_answers_that_are_no_http_end_in_one_line(server, path, sleeps, answer):
    message = failure(server, path, *[raw(answer)] * 2, attempts=2)
    assert len(message) < 700
    assert not path.exists()
    fetch(server, path, whole, whole)
    assert_complete(path)


@pytest.mark.parametrize("known", [True, False])
def test_a_file_without_end_is_not_fetched(server, path, monkeypatch, known):
    monkeypatch.setattr("chestrobust.data.sources.download.MAX_BYTES", 3 * CHUNK)
    answer = whole if known else raw(OK + b"\r\n" + BODY)
    assert "it is larger than" in failure(server, path, answer)
    assert os.listdir(path.parent) == []
    assert len(server.requests) == 1


def test_a_file_that_does_not_fit_is_refused_before_its_first_byte(server, path, part, monkeypatch):
    part.write_bytes(BODY[:100])
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: real(folder)._replace(free=len(BODY) - 101))
    assert "it needs 0 MB of space, and 0 MB are free" in failure(server, path, rest(100))
    assert part.read_bytes() == BODY[:100]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: real(folder)._replace(free=len(BODY) - 100))
    fetch(server, path, rest(100))
    assert_complete(path)


def test_a_disk_that_is_full_ends_in_one_line_and_the_next_run_goes_on(server, path, part):
    """A limit on the size of files stands for the full disk: writing fails in the same place."""
    part.write_bytes(BODY[:10])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * CHUNK, hard))
    try:
        assert "File too large" in failure(server, path, rest(10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert not path.exists()
    got = part.stat().st_size
    assert 10 <= got <= 2 * CHUNK
    assert part.read_bytes() == BODY[:got]
    fetch(server, path, rest(got))
    assert_complete(path)


def test_a_link_in_place_of_the_part_is_not_followed(server, path, part, tmp_path):
    (tmp_path / "precious").write_bytes(b"mine")
    part.symlink_to(tmp_path / "precious")
    assert "symbolic links" in failure(server, path, whole)
    assert (tmp_path / "precious").read_bytes() == b"mine"


def test_two_processes_at_once_leave_one_good_file(server, path):
    """The first gets half of the file, then stops until the second waits for it."""

    def half_then_wait(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", len(BODY))
        handler.end_headers()
        handler.wfile.write(BODY[: 3 * CHUNK])
        handler.server.released.wait(30)
        handler.wfile.write(BODY[3 * CHUNK :])

    server.script[:] = [half_then_wait]
    code = (
        "import sys; from pathlib import Path; from chestrobust import startup\n"
        "from chestrobust.data.sources.download import download\n"
        f"sys.exit(startup.run_script(lambda: download({server.url!r}, Path({str(path)!r}), md5={MD5!r})))"
    )
    start = lambda: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    first = start()
    while not server.requests:
        time.sleep(0.01)
        assert first.poll() is None
    second = start()
    assert "waiting for another process" in second.stdout.readline()
    server.released.set()
    _, first_error = first.communicate(timeout=60)
    _, second_error = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), first_error + second_error
    assert len(server.requests) == 1
    assert_complete(path)


@pytest.mark.parametrize("url", ["example.invalid/x.npz", "ftp://example.invalid/x.npz"])
def test_bad_url_fails_at_once(server, path, sleeps, url):
    failure(server, path, url=url)
    assert sleeps == []


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    assert "File exists" in failure(server, tmp_path / "file" / "x.npz")
    assert server.requests == []


@pytest.mark.parametrize("finish", ["rename", "delete", "rename and begin anew"])
def test_lock_on_a_file_that_has_moved_on_is_no_lock(server, path, part, monkeypatch, finish):
    part.write_bytes(BODY)
    lock, begun = fcntl.flock, []

    def lock_late(file, mode):
        if not begun:
            os.replace(part, path) if "rename" in finish else part.unlink()
            if "anew" in finish:
                part.write_bytes(b"of another process")
        begun.append(file)
        lock(file, mode)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    fetch(server, path, *([whole] if finish == "delete" else []))
    assert len(begun) == 2
    assert path.read_bytes() == BODY
    assert len(server.requests) == (finish == "delete")
    if "anew" in finish:
        assert part.read_bytes() == b"of another process"
    else:
        assert not part.exists()


def test_lock_ends_with_its_holder(server, path, part):
    with open(part, "wb") as other:
        other.write(BODY[:100])
        fcntl.flock(other, fcntl.LOCK_EX)
    fetch(server, path, rest(100))
    assert_complete(path)
