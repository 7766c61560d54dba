"""Run a decoding call in a child process, so that a decoder that crashes or hangs costs one file and not the job."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from signwave.errors import MediaError, UserError

Result = TypeVar("Result")

_LEAVE_SECONDS = 5.0


def call_isolated(
    function: Callable[..., Result],
    path: str | Path,
    *arguments: Any,
    timeout_seconds: float,
    max_memory_bytes: int | None = None,
    **settings: Any,
) -> Result:
    """Call `function(path, *arguments, **settings)` in a fresh process and return its result.

    Args:
        function: a module-level function, e.g. `count_frames`; it and its arguments and result must be picklable.
        path: the file it works on, for messages.
        *arguments: further positional arguments.
        timeout_seconds: the child is ended after this long.
        max_memory_bytes: cap on the child's address space, where the system has one.
        **settings: keyword arguments.

    Raises:
        MediaError: the child died, ran out of time or memory; or the MediaError that the function raised.
        UserError: likewise passed on.
    """
    if timeout_seconds <= 0:
        raise ValueError(f"timeout_seconds must be above 0, got {timeout_seconds}")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    work = (function, (str(path), *arguments), settings, max_memory_bytes)
    child = context.Process(target=_serve, args=(theirs, *work), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(timeout_seconds):
            raise MediaError(path, f"decoding took longer than {timeout_seconds:g} s and was ended; leave it out")
        value, error = ours.recv()
    except EOFError as ended:
        child.join(_LEAVE_SECONDS)
        raise MediaError(path, f"the decoder crashed on it ({_how(child.exitcode)}); leave it out") from ended
    finally:
        ours.close()
        if child.is_alive():
            child.join(0.1)
        if child.is_alive():
            child.kill()
        child.join(_LEAVE_SECONDS)
    if isinstance(error, MemoryError):
        raise MediaError(path, "decoding it needs more memory than allowed; leave it out", kind="too_large") from error
    if error is not None:
        raise error
    result: Result = value
    return result


def _serve(
    pipe: Connection,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    settings: dict[str, Any],
    max_memory_bytes: int | None,
) -> None:
    _limit_memory(max_memory_bytes)
    answer: tuple[Any, BaseException | None]
    try:
        answer = function(*arguments, **settings), None
    except (UserError, ValueError, MemoryError) as error:
        answer = None, error
    except Exception as error:  # noqa: BLE001 - whatever it is has to cross the pipe
        answer = None, RuntimeError(f"{type(error).__name__}: {error}")
    pipe.send(answer)
    pipe.close()


def _limit_memory(max_memory_bytes: int | None) -> None:
    if max_memory_bytes is None:
        return
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))


def _how(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit code {exitcode}"
    try:
        return f"signal {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"signal {-exitcode}"
