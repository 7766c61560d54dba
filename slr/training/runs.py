"""Trainings of a study: each a recipe in a process of its own, run once, resumed where it was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signwave.errors import ArtefactError, UserError
from signwave.rundir import RunDir, read_json, write_json


@dataclass(frozen=True)
class Training:
    """One run of a recipe.

    Attributes:
        name: of its folder.
        script: the recipe's file.
        settings: key=value.
        inputs: name → hash of what it reads; other hashes, another training.
        after: a training that has to be finished before.
    """

    name: str
    script: Path
    settings: tuple[str, ...]
    inputs: dict[str, str] = field(default_factory=dict)
    after: Training | None = None


@dataclass(frozen=True)
class Runner:
    """Runs trainings into one folder.

    Attributes:
        folder: of the runs; beside them lie PLAN.json and LOG files.
        launcher: words before the command, e.g. a queue's.
        num_jobs: trainings at the same time.
    """

    folder: Path
    launcher: tuple[str, ...] = ()
    num_jobs: int = 1

    def path(self, name: str) -> Path:
        """Run folder of a training."""
        return self.folder / name

    def run(self, training: Training) -> Path:
        """Train, unless that is done.

        Raises:
            ArtefactError: the folder holds a run of other settings or inputs.
            UserError: the training failed; its last line is in the message.
        """
        if training.after is not None:
            self.run(training.after)
        self._claim(training)
        run = RunDir(self.path(training.name))
        if run.results_json.is_file():
            return run.path
        where = (f"name={training.name}", f"runs_dir={self.folder}")
        resume = ("--resume",) if run.config_yaml.is_file() else ()
        words = [*self.launcher, sys.executable, str(training.script), *where, *training.settings, *resume]
        log = self.folder / f"{training.name}.log"
        with _alone(self.folder / f"{training.name}.lock") as lock, open(log, "ab") as file:
            done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, check=False, pass_fds=(lock,))
        if done.returncode or not run.results_json.is_file():
            raise UserError(f"{training.name}: ended with code {done.returncode} ({_last_line(log)}); see {log}")
        return run.path

    def run_all(self, trainings: Sequence[Training], *, tell: Callable[[Training, int, int], None]) -> None:
        """Run many, several at a time; `tell` hears of each that is done, with how many are and how many there are.

        A failure stops those that haven't begun. What is finished stays finished.
        """
        with ThreadPoolExecutor(max(1, self.num_jobs)) as pool:
            waiting = {pool.submit(self.run, training): training for training in trainings}
            num_done = 0
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    training = waiting.pop(future)
                    error = future.exception()
                    if error is not None:
                        pool.shutdown(wait=False, cancel_futures=True)
                        raise error
                    num_done += 1
                    tell(training, num_done, len(trainings))

    def _claim(self, training: Training) -> None:
        """Note what the folder is for, or refuse if it is for something else."""
        path = self.folder / f"{training.name}.json"
        wanted: dict[str, Any] = {
            "recipe": training.script.stem, "settings": list(training.settings), "inputs": training.inputs
        }  # fmt: skip
        if not path.is_file():
            write_json(path, wanted)
            return
        known = read_json(path)
        different = [name for name in wanted if known.get(name) != wanted[name]]
        if different:
            raise ArtefactError(
                f"{self.path(training.name)}: a run with other {' and '.join(different)}; give another folder for the "
                "study, or remove this run and its .json"
            )


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[int]:
    """Hold a lock that the training inherits: it outlives a study that is killed, as the training does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{path.with_suffix('')}: still trains, from a study that was ended; wait for it, then start again"
            ) from None
        yield descriptor
    finally:
        os.close(descriptor)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
