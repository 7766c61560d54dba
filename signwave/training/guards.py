"""What keeps a long run alive or ends it well: non-finite gradients, stuck loaders, signals, time limits."""

import faulthandler
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback, Checkpoint

from signwave.errors import UserError
from signwave.training.checkpoints import KeepCheckpoints, validation_follows

log = logging.getLogger(__name__)


class NonFiniteGuard(Callback):
    """Skips an optimiser step whose gradient isn't finite on any rank, names its clips, and gives up after a streak.

    Args:
        report: JSON-lines file for the skipped steps.
        patience: this many skipped steps in a row end the run.
    """

    def __init__(self, report: Path, *, patience: int) -> None:
        self.report = report
        self.patience = patience
        self.num_skipped = 0
        self._streak = 0
        self._ids: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """Counts, so that a resumed run reports the whole."""
        return {"num_skipped": self.num_skipped, "streak": self._streak}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.num_skipped, self._streak = state_dict["num_skipped"], state_dict["streak"]

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Remember which clips make up the next step."""
        self._ids += [str(name) for name in getattr(batch, "ids", ())]

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Look at the gradient; without gradients the optimiser leaves its parameters and state alone."""
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
        ids, self._ids = self._ids, []
        finite = bool(torch.isfinite(norm))
        if trainer.world_size > 1:
            finite = trainer.strategy.reduce_boolean_decision(finite, all=True)
        if finite:
            self._streak = 0
            pl_module.log("train/grad_norm", norm, batch_size=1)
            return
        optimizer.zero_grad(set_to_none=True)
        self.num_skipped += 1
        self._streak += 1
        self._tell(trainer.global_step, ids)
        pl_module.log("train/num_skipped_steps", float(self.num_skipped), batch_size=1)

    def _tell(self, step: int, ids: list[str]) -> None:
        log.warning("step %d skipped: gradient is not finite; clips: %s", step, ", ".join(ids[:8]) or "unknown")
        self.report.parent.mkdir(parents=True, exist_ok=True)
        with open(self.report, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "ids": ids}, ensure_ascii=False) + "\n")
        if self._streak >= self.patience:
            raise UserError(
                f"{self._streak} steps in a row had a gradient that is not finite; the last was step {step} with clips "
                f"{', '.join(ids[:8]) or 'unknown'} (all in {self.report}); check those clips, lower the learning "
                "rate or set train.gradient_clip, then continue with --resume"
            )


class Watchdog(Callback):
    """Ends the process when no batch has finished for too long: a stuck loader hangs for ever otherwise.

    It watches while batches are due. What a module does before the first and after the last of them (a head start, a
    language model) may take its time.

    Args:
        report: text file for the stacks of all threads.
        stall_seconds: how long without a batch is too long; 0 turns it off.
        reading: tells what the loader workers are reading, for the message.
    """

    def __init__(self, report: Path, *, stall_seconds: float, reading: Callable[[], str] = lambda: "") -> None:
        self.report = report
        self.stall_seconds = stall_seconds
        self._reading = reading
        self._beat = time.monotonic()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def on_train_start(self, *_: Any) -> None:
        """Begin to watch."""
        if self.stall_seconds > 0 and self._thread is None:
            self._beat = time.monotonic()
            self._stop.clear()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    on_test_epoch_start = on_train_start

    def on_train_end(self, *_: Any) -> None:
        """Stop watching."""
        self.stop()

    on_test_epoch_end = on_train_end

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Stop watching."""
        self.stop()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop watching: nothing moves any more."""
        self.stop()

    def on_train_batch_end(self, *_: Any) -> None:
        """A sign of life."""
        self._beat = time.monotonic()

    on_validation_batch_end = on_train_batch_end
    on_validation_end = on_train_batch_end
    on_test_batch_end = on_train_batch_end

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, self.stall_seconds / 4)):
            silent = time.monotonic() - self._beat
            if silent > self.stall_seconds:
                self._end(silent)

    def _end(self, silent_seconds: float) -> None:
        message = (
            f"error: no batch finished for {silent_seconds:.0f} s (train.stall_seconds={self.stall_seconds:g}); "
            f"{self._reading() or 'the loader or a device is stuck'}; stacks are in {self.report}; "
            "look at that storage or device, then continue with --resume"
        )
        sys.stderr.write(message + "\n")
        self.report.parent.mkdir(parents=True, exist_ok=True)
        with open(self.report, "w", encoding="utf-8") as file:
            file.write(message + "\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        for child in multiprocessing.active_children():
            child.kill()  # a stopped process heeds no other signal
        sys.stderr.flush()
        os._exit(1)  # the main thread hangs in the loader, nothing gentler reaches it


class Interrupted(Exception):
    """A signal asked the run to end; the state is saved.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM, as shells expect.
    """

    def __init__(self, number: int, folder: Path) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}; saved in {folder}, continue with --resume")
        self.exit_code = 130 if number == signal.SIGINT else 143


class SignalStop(Checkpoint):  # a Checkpoint only so that Lightning runs it after KeepCheckpoints
    """On SIGINT, SIGTERM or SLURM's SIGUSR1: finish the step, save, and raise Interrupted.

    A second Ctrl-C ends at once. All ranks stop at the same step, whichever got the signal.

    Args:
        keeper: does the saving.
    """

    def __init__(self, keeper: KeepCheckpoints) -> None:
        self.keeper = keeper
        self._number = 0
        self._before: dict[int, Any] = {}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Remember who has the signals, before Lightning puts its own handlers over them."""
        if stage == "fit" and threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if "SLURM_JOB_ID" in os.environ else [])]
            self._before = {number: signal.getsignal(number) for number in numbers}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take over the signals, from Lightning too, which would end between any two batches and save nothing."""
        for number in self._before:
            signal.signal(number, self._receive)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Give the signals back: Lightning calls no teardown now."""
        self.teardown(trainer, pl_module, "fit")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Stop between two optimiser steps; after a batch that validation follows, wait for its end."""
        boundary = (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if boundary and not validation_follows(trainer) and self._requested(trainer):
            self.keeper.save(trainer)
            self._raise()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop after validation, where KeepCheckpoints has just saved."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and self._requested(trainer):
            self._raise()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = self._number or number

    def _requested(self, trainer: Any) -> bool:
        if trainer.world_size == 1:
            return self._number != 0
        return bool(trainer.strategy.reduce_boolean_decision(self._number != 0, all=False))

    def _raise(self) -> None:
        raise Interrupted(self._number or signal.SIGTERM, self.keeper.folder)


class RunLimit(Callback):
    """Ends the run at its last batch or when its time is over, so that validation follows and the end is saved.

    Args:
        max_minutes: training time of the whole run, over all resumes; None for no limit.
    """

    def __init__(self, *, max_minutes: float | None) -> None:
        self.max_minutes = max_minutes
        self._before = 0.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Training time so far, over all resumes."""
        return self._before + time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """The time spent."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on."""
        self._before = state_dict["seconds"]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Ask Lightning to stop, which it does after one more validation."""
        num_batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        over = self.max_minutes is not None and self.seconds > 60 * self.max_minutes
        if self.max_minutes is not None and trainer.world_size > 1:
            over = bool(trainer.strategy.reduce_boolean_decision(over, all=False))
        if over or num_batches >= trainer.num_training_batches:
            trainer.should_stop = True
