"""One writer at a time: an advisory lock on an index folder that dies with its process."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from signwave.errors import ArtefactError

_LOCK_NAME = "LOCK"


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the writers' lock of a folder, or fail at once naming the process that holds it.

    The kernel drops the lock when the process ends in whatever way, so a stale lock can't exist. Readers need none.
    """
    path = folder / _LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ArtefactError(
            f"{path}: can't be opened for writing ({error.strerror}); only who may write there can change an index"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise ArtefactError(
                f"{folder}: locked by {holder}; one process at a time may write there, wait for it to end"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()} on host {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
