"""Checkpoints that survive `kill -9`, full disks and flipped bits, and that hold plain data only.

A checkpoint is written beside its final place, flushed, renamed, and only then gets its sidecar `NAME.ckpt.sha256`.
What has no matching sidecar doesn't count, so the newest valid checkpoint is always whole.
"""

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from signwave.errors import ArtefactError, ConfigError, UserError
from signwave.rundir import atomic_path, atomic_write, sha256_file, sweep_temporaries

log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<prefix>step|best)-(?P<step>\d+)\.ckpt")


def plain_state(value: Any, where: str = "checkpoint") -> Any:
    """The value with containers and numbers made plain, so that it loads with `weights_only=True`.

    Args:
        value: dicts, lists, tuples, tensors, numbers, text, None; numpy numbers, arrays and paths are converted.
        where: path of the value, for the message.

    Raises:
        TypeError: anything else, which would need code to load.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {_plain_key(key, where): plain_state(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [plain_state(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    return _plain_scalar(value, where)


def _plain_scalar(value: Any, where: str) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "bfiu":
        return torch.from_numpy(np.array(value))
    if isinstance(value, np.generic):
        value = value.item()
    for plain_type in (bool, int, float, str):
        if isinstance(value, plain_type):
            return plain_type(value)  # also strips subclasses such as enums
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None:
        return None
    raise TypeError(f"{where} is a {type(value).__name__}; a checkpoint holds tensors and plain values only")


def _plain_key(key: Any, where: str) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TypeError(f"{where} has the key {key!r}; keys of a checkpoint are text or whole numbers")
    return str(key) if isinstance(key, str) else int(key)


def sidecar(path: Path) -> Path:
    """Where the checksum of a checkpoint lies."""
    return path.with_name(path.name + ".sha256")


def save(path: str | Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint and its checksum.

    Raises:
        UserError: the disk is full or the folder can't be written; older checkpoints are untouched.
        TypeError: something in it isn't plain.
    """
    path = Path(path)
    state = plain_state(checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sidecar(path).unlink(missing_ok=True)
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
            digest = sha256_file(temporary)
        atomic_write(sidecar(path), f"{digest}  {path.name}\n")
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        free_mb = shutil.disk_usage(path.parent).free // 1_000_000 if path.parent.exists() else 0
        raise UserError(
            f"{path}: can't write the checkpoint ({str(error).splitlines()[0]}); {free_mb} MB are free there; "
            "make room and continue with --resume"
        ) from error


def is_valid(path: str | Path) -> bool:
    """Whether a checkpoint is whole: its sidecar exists and matches."""
    path = Path(path)
    try:
        return sidecar(path).read_text(encoding="utf-8").split()[:1] == [sha256_file(path)]
    except OSError:
        return False


def load(path: str | Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint after checking it.

    Raises:
        ArtefactError: it is missing, damaged, or holds more than plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtefactError(f"{path}: no such checkpoint")
    if not is_valid(path):
        raise ArtefactError(f"{path}: differs from its checksum file; use an older checkpoint of the folder")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        raise ArtefactError(f"{path}: can't be read ({str(error).splitlines()[0]})") from error
    return checkpoint


def list_steps(folder: str | Path, *, prefix: str = "step") -> list[Path]:
    """Checkpoints of a folder, newest first, valid or not."""
    found = [(int(m["step"]), p) for p in Path(folder).glob("*.ckpt") if (m := _NAME.fullmatch(p.name))]
    return [path for _, path in sorted(found, reverse=True) if path.name.startswith(f"{prefix}-")]


def latest_valid(folder: str | Path, *, prefix: str = "step") -> Path | None:
    """The newest checkpoint whose checksum matches, or None.

    Args:
        folder: `checkpoints/` of a run.
        prefix: "step" to continue from, "best" for the best weights.
    """
    for path in list_steps(folder, prefix=prefix):
        if is_valid(path):
            return path
        log.warning("%s is damaged or incomplete; trying an older one", path)
    return None


def prune(folder: str | Path, *, prefix: str, keep: int, newest: Path | None = None) -> None:
    """Delete all but the newest `keep` valid checkpoints, and what is invalid and older than those.

    Args:
        folder: `checkpoints/` of a run.
        prefix: which of them.
        keep: how many stay.
        newest: the one just written; the run didn't go on from what has a higher number, so that counts as oldest.
    """
    num_valid = 0
    paths = list_steps(folder, prefix=prefix)
    if newest is not None:
        paths.sort(key=lambda path: path.name > newest.name)  # stable: the others keep their order
    for path in paths:
        if num_valid >= keep:
            sidecar(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        elif sidecar(path).is_file():
            num_valid += 1


class SafeCheckpointIO(CheckpointIO):
    """Lightning's reading and writing, done by this module."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write atomically; see `save`."""
        save(path, checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read after checking; never runs code, whatever `weights_only` says."""
        return load(path, map_location=map_location if map_location is not None else "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint and its sidecar."""
        sidecar(Path(path)).unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)


class KeepCheckpoints(Checkpoint):
    """Saves `step-N.ckpt` regularly (the newest two stay) and `best-N.ckpt` when the monitored figure improves.

    Args:
        folder: `checkpoints/` of the run.
        every_num_batches: batches between two saves during training; 0 saves after validation only.
        monitor: metric that decides which weights are best, or None for the newest.
        mode: whether a lower ("min") or a higher ("max") figure is better.
        keep: how many step checkpoints stay.
    """

    def __init__(
        self, folder: Path, *, every_num_batches: int, monitor: str | None, mode: str = "min", keep: int = 2
    ) -> None:
        self.folder = folder
        self.every_num_batches = every_num_batches
        self.monitor = monitor
        self.mode = mode
        self.keep = keep
        self.best: float | None = None
        """The monitored figure of the best checkpoint."""
        self.best_metrics: dict[str, float] = {}
        """All validation figures of the best checkpoint."""
        self._saved_at = -1

    def state_dict(self) -> dict[str, Any]:
        """The best figures so far."""
        return {"best": self.best, "best_metrics": self.best_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best figures so far."""
        self.best, self.best_metrics = state_dict["best"], state_dict["best_metrics"]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Delete what killed writers left."""
        if trainer.is_global_zero and stage == "fit" and self.folder.is_dir():
            sweep_temporaries(self.folder)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save when it is time, unless validation follows: then the save after it counts this batch too."""
        num_batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        if self.every_num_batches and num_batches % self.every_num_batches == 0 and not validation_follows(trainer):
            self.save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after validation, and once more as the best if it is."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self.monitor is not None and self._improved(trainer):
            self._save_as(trainer, "best", keep=1, whole_state=False)
        self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save where training ended."""
        if self._saved_at != trainer.fit_loop.epoch_loop.total_batch_idx:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Save everything that resuming needs."""
        self._saved_at = trainer.fit_loop.epoch_loop.total_batch_idx
        self._save_as(trainer, "step", keep=self.keep, whole_state=True)

    def _save_as(self, trainer: pl.Trainer, prefix: str, *, keep: int, whole_state: bool) -> None:
        num_batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        path = self.folder / f"{prefix}-{num_batches:09d}.ckpt"
        trainer.save_checkpoint(path, weights_only=not whole_state)
        if trainer.is_global_zero:
            prune(self.folder, prefix=prefix, keep=keep, newest=path)

    def _improved(self, trainer: pl.Trainer) -> bool:
        value = trainer.callback_metrics.get(self.monitor or "")
        if value is None:
            known = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise ConfigError(f"train.monitor={self.monitor}: no such metric; logged are: {known}")
        figure = float(value)
        better = self.best is None or (figure < self.best if self.mode == "min" else figure > self.best)
        if better and np.isfinite(figure):
            self.best = figure
            metrics = trainer.callback_metrics
            self.best_metrics = {name: float(metrics[name]) for name in metrics if name.startswith("val/")}
            return True
        return False


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether Lightning validates after the batch that just ended."""
    every = trainer.val_check_batch
    enabled = trainer.enable_validation and isinstance(every, int) and every > 0
    return bool(enabled and (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % every == 0)
