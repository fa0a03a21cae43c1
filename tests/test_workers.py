"""The meeting of workers, before TensorFlow is loaded."""

import socket
import threading

import pytest

from chestrobust import workers
from chestrobust.workers import Meeting, WorkersError


@pytest.fixture
def hosts():
    """Three free addresses on this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    found = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return found


def together(hosts, work):
    """What `work(number)` returns or raises in each of several threads."""
    found = [None] * len(hosts)

    def call(number):
        try:
            found[number] = work(number)
        except WorkersError as error:
            found[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(hosts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_workers_with_one_task_agree(hosts):
    assert together(hosts, lambda number: Meeting(hosts, number).agree({"seed": 0, "by": ("sex",)})) == [None] * 3
    # The chief's port is free again at once.
    socket.create_server(("127.0.0.1", int(hosts[0].rpartition(":")[2]))).close()


def test_another_option_is_named_to_all(hosts):
    found = together(hosts, lambda number: Meeting(hosts, number).agree({"seed": 9 * (number == 2), "limit": 5}))
    assert len({str(error) for error in found}) == 1
    assert "the same seed" in str(found[0]) and "9 of worker 2" in str(found[0])


@pytest.mark.parametrize("ended", [0, 1])
def test_the_end_of_a_worker_is_told(hosts, ended):
    def work(number):
        meeting = Meeting(hosts, number)
        if number != ended:
            return meeting.agree({"seed": 0})
        for peer in meeting.peers.values():  # As when its process ends.
            peer.close()

    found = together(hosts, work)
    assert found[ended] is None
    for number in {0, 1, 2} - {ended}:
        if number == 0 or ended == 0:
            assert f"the end of worker {ended}" in str(found[number])
        assert isinstance(found[number], WorkersError)


@pytest.mark.parametrize("absent", [0, 2])
def test_workers_that_never_come_are_named_after_a_while(hosts, monkeypatch, absent):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    found = together(hosts, lambda number: None if number == absent else Meeting(hosts, number).agree({}))
    assert hosts[absent] in str(found[0 if absent else 1])
    assert all(isinstance(found[number], WorkersError) for number in {0, 1, 2} - {absent})


def test_a_port_that_is_taken_is_one_line(hosts):
    with socket.create_server(("", int(hosts[0].rpartition(":")[2]))), pytest.raises(WorkersError, match="free"):
        Meeting(hosts, 0)


@pytest.mark.parametrize("port", ["0", "65536", "99999999", "x", "-1"])
def test_a_port_that_is_none_is_one_line(port):
    with pytest.raises(WorkersError, match="a port from 1 to 65535"):
        Meeting(["127.0.0.1:1", f"127.0.0.1:{port}"], 0)


@pytest.mark.parametrize("content", [b"", b"GET / HTTP/1.0\r\n\r\n", b"[" * 60000 + b"\n", b'"1"\n', b"7\n", b"true\n"])
def test_strangers_are_not_counted(hosts, content):
    def work(number):
        if number == 2:
            with socket.create_connection(("127.0.0.1", int(hosts[0].rpartition(":")[2]))) as connection:
                connection.sendall(content)
        return Meeting(hosts, number).agree({})

    # The stranger may come before the chief listens.
    found = together(hosts, lambda number: _retried(work, number))
    assert found == [None] * 3


def _retried(work, number):
    while True:
        try:
            return work(number)
        except ConnectionRefusedError:
            continue
