"""Run the steps of the demo as the commands a person would type, in lanes side by side, with progress and logs."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LINE_EVERY_SECONDS = 20.0


@dataclass
class Step:
    """One command of the demo.

    `optional` steps may fail: the demo says so and goes on; steps that need them are skipped by `when`.
    """

    name: str
    argv: Callable[[], Sequence[str]]
    """The command; a function, because a step may need what the one before it has written."""
    optional: bool = False
    when: Callable[[], bool] = lambda: True
    accept: Sequence[int] = (0,)
    """Exit codes that count as done: 3, say, where a damaged input is part of the show."""


@dataclass
class Outcome:
    """How a step ended; `seconds` is wall time."""

    name: str
    state: str
    seconds: float
    message: str = ""


class StepFailed(Exception):
    """A step that the demo can't do without has failed."""


@dataclass
class Lanes:
    """Steps in lanes: one after the other within a lane, the lanes at the same time.

    Each step gets one thread of every numerical library: two busy lanes use two cores best that way.
    """

    folder: Path
    outcomes: list[Outcome] = field(default_factory=list)
    _current: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    def run(self, lanes: dict[str, Sequence[Step]]) -> None:
        """Run every lane to its end.

        Raises:
            StepFailed: a step that isn't optional failed; the other lane is stopped.
        """
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        failures: list[str] = []
        threads = [threading.Thread(target=self._lane, args=(steps, failures), daemon=True) for steps in lanes.values()]
        for thread in threads:
            thread.start()
        try:
            self._watch(threads, failures)
        except BaseException:
            self.stop()
            raise
        if failures:
            self.stop()
            raise StepFailed(failures[0])

    def stop(self) -> None:
        """End what is still running."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()

    def _watch(self, threads: Sequence[threading.Thread], failures: list[str]) -> None:
        last = time.monotonic()
        while any(thread.is_alive() for thread in threads) and not failures:
            time.sleep(0.2)
            if time.monotonic() - last >= _LINE_EVERY_SECONDS:
                last = time.monotonic()
                for name in list(self._current):
                    self._say(f"{name}: {self._last_words(name)}")

    def _lane(self, steps: Sequence[Step], failures: list[str]) -> None:
        for step in steps:
            if failures:
                return
            if not step.when():
                self._note(Outcome(step.name, "skipped", 0.0))
                continue
            outcome = self._step(step)
            self._note(outcome)
            if outcome.state == "failed" and not step.optional:
                failures.append(f"{step.name}: {outcome.message}\n  command: {' '.join(step.argv())}\n"
                                f"  whole output: {self._log_path(step.name)}")  # fmt: skip
                return

    def _step(self, step: Step) -> Outcome:
        self._say(f"{step.name} …")
        started = time.monotonic()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
                       "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}  # fmt: skip
        with open(self._log_path(step.name), "wb") as log:
            process = subprocess.Popen(
                list(step.argv()), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
            with self._lock:
                self._processes.append(process)
                self._current[step.name] = step.name
            code = process.wait()
        with self._lock:
            self._current.pop(step.name, None)
        state = "done" if code in step.accept else "failed"
        return Outcome(
            step.name, state, time.monotonic() - started, "" if state == "done" else self._last_words(step.name)
        )

    def _note(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes.append(outcome)
        self._say(f"{outcome.name}: {outcome.state} in {outcome.seconds:.0f} s {outcome.message}".rstrip())

    def _log_path(self, name: str) -> Path:
        return self.folder / "logs" / f"{name.replace(' ', '_')}.log"

    def _last_words(self, name: str) -> str:
        try:
            text = self._log_path(name).read_text(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        return lines[-1][:160] if lines else "started"

    def _say(self, message: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - self._started:4.0f} s] {message}\n")
        sys.stderr.flush()
