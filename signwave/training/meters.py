"""How fast a run is and how far: throughput with the share of time spent waiting for data, and progress lines."""

import sys
import time
from typing import Any

from pytorch_lightning.callbacks import Callback

from signwave.training.data import DataModule

_LINE_EVERY_SECONDS = 30.0


class Throughput(Callback):
    """Logs train/frames_per_second and train/data_wait_share, with a known rate train/media_seconds_per_second too.

    Frames count without padding and over all ranks; for audio they are samples.

    Args:
        data: its stream counts frames and waiting time.
        every_num_batches: batches between two figures.
    """

    def __init__(self, data: DataModule, *, every_num_batches: int) -> None:
        self.data = data
        self.every_num_batches = every_num_batches
        self._mark: tuple[float, float, int] | None = None

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Validation time is nobody's throughput: start a new window."""
        self._mark = None

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Log a window of batches."""
        stream = self.data.stream
        if stream is None:
            return
        now = (time.perf_counter(), stream.wait_seconds, stream.num_units)
        if self._mark is None:
            self._mark = now
        elif (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % self.every_num_batches == 0:
            seconds = max(now[0] - self._mark[0], 1e-9)
            frames_per_second = (now[2] - self._mark[2]) / seconds * trainer.world_size
            pl_module.log("train/frames_per_second", frames_per_second, batch_size=1)
            pl_module.log("train/data_wait_share", min(1.0, (now[1] - self._mark[1]) / seconds), batch_size=1)
            if self.data.rate_hz:
                pl_module.log("train/media_seconds_per_second", frames_per_second / self.data.rate_hz, batch_size=1)
            self._mark = now


class ProgressLines(Callback):
    """A line on stderr every 30 s, where there is no terminal for a bar."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock."""
        self._started = self._last = time.monotonic()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Say a line when it is time."""
        now = time.monotonic()
        if trainer.is_global_zero and now - self._last >= _LINE_EVERY_SECONDS:
            self._last = now
            figures = "".join(f", {k} {float(v):.4g}" for k, v in sorted(trainer.callback_metrics.items()) if _shown(k))
            sys.stderr.write(f"training: step {trainer.global_step}, {now - self._started:.0f} s{figures}\n")
            sys.stderr.flush()


def _shown(name: str) -> bool:
    return name == "train/loss" or name.startswith("val/")
