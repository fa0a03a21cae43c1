"""Locks on open files, the one place that knows how the system does it; all of them end with their process.

Not the package `filelock`: its locks are handed on to forked children, and so can outlive the process that took them.
On Windows nothing is locked: what its `msvcrt` offers would refuse the same process a second time.
"""

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


_held = {}  # For each folder that this process has locked, the open files, as a lock ends when one is closed.


def hold(folder, file):
    """Keep an open, locked file of a folder, and with it the lock, until this process ends."""
    _held.setdefault(os.path.abspath(folder), []).append(file)


def lost(path):
    """The folder around a path that this process had locked and that has been removed or replaced since, or None."""
    path = os.path.abspath(path)
    for folder, files in _held.items():
        if path.startswith(os.path.join(folder, "")):
            file = files[-1]
            try:
                there = os.stat(os.path.join(folder, os.path.basename(file.name)))
            except OSError:
                return folder
            if not os.path.samestat(os.fstat(file.fileno()), there):
                return folder
    return None


def exclusive(file, *, wait):
    """Lock an open file for everybody else, other threads too, until it is closed.

    Args:
        file: File open for writing.
        wait: Whether to wait for whoever has it.

    Raises:
        BlockingIOError: If somebody has it, and `wait` is false.
        OSError: If the file system has no locks.
    """
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def of_process(file):
    """Lock an open file for other processes, until it is closed or this one ends in whatever way.

    The lock is the process's, not the open file's: that is what network file systems know, children don't inherit it,
    and the process may take it again.

    Raises:
        BlockingIOError, PermissionError: If another process has it.
        OSError: If the file system has no locks.
    """
    if fcntl:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
