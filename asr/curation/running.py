"""Run a callable over rows: here, in processes of this machine, or as a Ray Data map. Results come in any order."""

from __future__ import annotations

import itertools
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from signwave.command import Failure
from signwave.errors import MediaError, UserError
from signwave.media.isolated import call_isolated

Row = dict[str, Any]
Function = Callable[[Row], Row]

_ALONE_SECONDS = 4 * 3600.0
_AHEAD = 3  # rows per process that are handed out


def run_here(function: Function, rows: Iterable[Row]) -> Iterator[Row]:
    """Run in this process; a decoder that crashes takes the run with it."""
    return map(function, rows)


def run_in_processes(function: Function, rows: Iterable[Row], *, num_workers: int) -> Iterator[Row]:
    """Run in processes that live for many rows.

    When one of them dies, the rows that were under way are run again, each in a process of its own: the one that
    kills it comes back as a failure, the others are done.

    Args:
        function: picklable; gets a row with "path" and returns it with more, as `asr.curation.measuring.Measure`.
        rows: picklable; read as they are needed.
        num_workers: processes at the same time.
    """
    remaining = iter(rows)
    while True:
        suspects: list[Row] = []
        yield from _run_pool(function, remaining, num_workers, suspects)
        if not suspects:
            return
        for row in suspects:
            yield _run_alone(function, row)


def _run_pool(function: Function, rows: Iterator[Row], num_workers: int, suspects: list[Row]) -> Iterator[Row]:
    """Run until the rows end or a process dies; then `suspects` holds what was not done."""
    context = multiprocessing.get_context("spawn")  # forking a process with threads of torch may hang
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_one_thread)
    pending: dict[Future[Row], Row] = {}
    try:
        while not suspects:
            for row in itertools.islice(rows, _AHEAD * num_workers - len(pending)):
                try:
                    pending[pool.submit(function, row)] = row
                except BrokenProcessPool:
                    suspects.append(row)
                    break
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                row = pending.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    suspects.append(row)
                else:
                    yield future.result()
        suspects += pending.values()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _run_alone(function: Function, row: Row) -> Row:
    try:
        return call_isolated(_call, row["path"], function, row, timeout_seconds=_ALONE_SECONDS)
    except (MediaError, UserError) as error:
        failure = Failure.of(str(row["path"]), error)
        return {**row, "seconds": 0.0, "segments": [], "failure": {"kind": "crashed", "message": failure.message}}


def _call(path: str, function: Function, row: Row) -> Row:
    del path  # for the messages of call_isolated
    return function(row)


@dataclass(frozen=True)
class JsonRows:
    """A callable over rows as Ray Data's `map` takes it: `{"json"}` → `{"json"}`.

    Rows cross as text, so that Arrow has no say in what a nested row may hold.
    """

    function: Function

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Run one row."""
        return {"json": json.dumps(self.function(json.loads(row["json"])))}


def run_on_ray(function: Function, rows: Iterable[Row], *, num_workers: int | None = None) -> Iterator[Row]:
    """Run as a Ray Data map, on the cluster that Ray finds or on this machine; the files must be readable everywhere.

    Args:
        function: as for `run_in_processes`.
        rows: all of them, as plain values.
        num_workers: tasks at the same time; None leaves it to Ray.

    Raises:
        UserError: Ray isn't installed.
    """
    try:
        from ray import data
    except ImportError as error:
        raise UserError(f"the engine 'ray' needs Ray Data ({error}); run: pip install 'ray[data]'") from error
    lines = [{"json": json.dumps(row)} for row in rows]
    if not lines:
        return
    mapped = data.from_items(lines, override_num_blocks=len(lines)).map(JsonRows(function), concurrency=num_workers)
    for row in mapped.iter_rows():
        yield json.loads(row["json"])
