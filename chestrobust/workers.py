"""How workers agree to start: they meet at the chief, compare what they were asked to do, and learn if one gives up.

TensorFlow's own servers wait for each other without a word, and for a worker that has refused to start, for ever. So
before any of them is made, every worker opens a connection to the chief's address and keeps it until all are ready. It
ends with the process that has it, whatever ends that.
"""

import contextlib
import json
import socket
import sys
import time

from chestrobust.errors import ExpectedError, printable

PATIENCE = 60  # seconds for all workers to come
MAX_LINE = 1 << 16  # bytes


class WorkersError(ExpectedError):
    """Workers that don't come, don't agree, or go."""


class Meeting:
    """This worker's connections: the chief has one to each of the others, those one to the chief.

    Args:
        hosts: Address of each worker, `"host:port"`; the first is the chief's.
        worker: Number of this one.

    Raises:
        WorkersError: If the address can't be used, or not all have come after `PATIENCE` seconds.
    """

    def __init__(self, hosts, worker):
        self.hosts, self.worker, self.places = hosts, worker, [_place(host) for host in hosts]
        self.end = time.monotonic() + PATIENCE
        with _listening(self.places[worker], hosts[worker]) as listener:
            self.peers = self._welcome(listener) if worker == 0 else {0: self._visit()}

    def _welcome(self, listener):
        print(f"Waiting for {len(self.hosts) - 1} other workers, {PATIENCE} seconds at most", file=sys.stderr)
        found = {}
        while len(found) < len(self.hosts) - 1:
            listener.settimeout(max(self.end - time.monotonic(), 0.001))
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                missing = [host for number, host in enumerate(self.hosts) if number and number not in found]
                for peer in found.values():
                    peer.close()
                raise self._absent(", ".join(missing)) from None
            connection.settimeout(5)
            number = _received(connection)
            if type(number) is int and 0 < number < len(self.hosts) and number not in found:
                found[number] = connection
            else:  # somebody else
                connection.close()
        return found

    def _visit(self):
        while True:
            try:
                connection = socket.create_connection(self.places[0], timeout=5)
                _send(connection, self.worker)
                return connection
            except OSError:
                if time.monotonic() > self.end:
                    raise self._absent(self.hosts[0]) from None
                time.sleep(0.2)

    def _absent(self, hosts):
        return WorkersError(
            f"TF_CONFIG: expected all workers within {PATIENCE} seconds. Received nothing from {hosts}. Start all of "
            "them, and see what those that ended have said."
        )

    def agree(self, task):
        """Wait until all workers are ready, and part.

        Args:
            task: What this worker is about to do, by name, as JSON has it.

        Raises:
            WorkersError: If another worker has ended or is about to do something else.
        """
        task = json.loads(json.dumps(task))  # as the others receive it
        try:
            if self.worker:
                _send(self.peers[0], task)
                answer = self._heard(0)
            else:
                answer = self._verdict(task, {number: self._heard(number) for number in sorted(self.peers)})
                for peer in self.peers.values():
                    _send(peer, answer)
        except OSError:
            raise self._gone(0) from None
        finally:
            for peer in self.peers.values():
                peer.close()
        if answer != "go":
            raise WorkersError(str(answer))

    def _verdict(self, task, others):
        for number, other in others.items():
            other = other if isinstance(other, dict) else {}
            for name in sorted(task | other):
                if task.get(name) != other.get(name):
                    return (
                        f"Expected the same {name} of all workers. Received {task.get(name)!r:.100} of worker 0, "
                        f"{other.get(name)!r:.100} of worker {number}. Start all alike."
                    )
        return "go"

    def _heard(self, number):
        self.peers[number].settimeout(None)  # Another may have much more to do before it is ready.
        answer = _received(self.peers[number])
        if answer is None:
            raise self._gone(number)
        return answer

    def _gone(self, number):
        return WorkersError(
            f"Expected all workers to start. Received the end of worker {number} ({self.hosts[number]}). "
            "See what it has said."
        )


def _place(host):
    name, _, port = host.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise WorkersError(f"TF_CONFIG: expected a port from 1 to 65535. Received: {printable(host)}.")
    return name.strip("[]"), int(port)


@contextlib.contextmanager
def _listening(place, host):
    """A socket that listens at a worker's own port, which shows too that TensorFlow's server can."""
    try:
        listener = socket.create_server(("", place[1]))
    except OSError as error:
        raise WorkersError(
            f"TF_CONFIG: expected a port that is free. Received: {printable(host)}: {error.strerror}. Choose another."
        ) from None
    with listener:
        yield listener


def _send(connection, content):
    connection.sendall(json.dumps(content).encode() + b"\n")


def _received(connection):
    """What the other side has sent, or None if it sent nothing that is understood before it ended."""
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < MAX_LINE:
            part = connection.recv(1)  # and nothing of the next line
            if not part:
                return None
            line += part
        return json.loads(line)
    except (OSError, ValueError, RecursionError):
        return None
