"""metrics.csv: one row a step, one column a metric, written as the run goes and continued by a resumed run."""

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from signwave.rundir import atomic_write

_FIXED = ("step", "epoch", "seconds")


class CsvMetrics(Logger):
    """Lightning logger that appends to a CSV file and rewrites it only when a new metric appears.

    Columns: step (optimiser steps done), epoch (passes over the data, a fraction), seconds (since this process began
    to train), then the metrics in order of first appearance. A cell is empty where a metric wasn't logged.

    Args:
        path: the file; rows of an earlier part of the run are kept up to the step where this part begins.
        epoch: tells how many passes over the data are done.
    """

    def __init__(self, path: Path, *, epoch: Callable[[], float]) -> None:
        super().__init__()
        self.path = path
        self._epoch = epoch
        self._started = time.monotonic()
        self._columns: list[str] = list(_FIXED)
        self._pending: dict[str, Any] = {}
        self._opened = False

    @property
    def name(self) -> str:
        """Empty: the run folder has the name."""
        return ""

    @property
    def version(self) -> str:
        """Empty: a run has one file."""
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds them."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add the figures of a step to its row."""
        if rank_zero_only.rank != 0:
            return
        step = 0 if step is None else int(step)
        if not self._opened:
            self._open(step)
        if self._pending and self._pending["step"] != step:
            self._write()
        if not self._pending:
            seconds = round(time.monotonic() - self._started, 3)
            self._pending = {"step": step, "epoch": round(self._epoch(), 4), "seconds": seconds}
        self._pending.update({name: float(value) for name, value in metrics.items() if name != "epoch"})

    def finalize(self, status: str) -> None:
        """Write the last row."""
        self._write()

    def _write(self) -> None:
        row, self._pending = self._pending, {}
        if not row:
            return
        new = [name for name in row if name not in self._columns]
        if new:
            rows = read_rows(self.path) if self.path.exists() else []
            self._columns += new
            self._rewrite(rows)
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)

    def _open(self, first_step: int) -> None:
        rows = read_rows(self.path) if self.path.exists() else []
        if rows:
            self._columns = list(rows[0])
        self._rewrite([row for row in rows if int(float(row["step"] or 0)) < first_step])
        self._opened = True

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(self.path, text.getvalue())


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv as text; a half-written last row is left out."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values()]
