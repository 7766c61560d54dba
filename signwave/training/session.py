"""One run from an open run folder to results.json."""

import contextlib
import logging
import math
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, TQDMProgressBar

from signwave import command, config, report
from signwave.errors import ConfigError, require
from signwave.rundir import RunDir, atomic_write, environment, read_json, write_json
from signwave.training import checkpoints
from signwave.training.checkpoints import KeepCheckpoints, SafeCheckpointIO
from signwave.training.guards import NonFiniteGuard, RunLimit, SignalStop, Watchdog
from signwave.training.loggers import CsvMetrics
from signwave.training.meters import ProgressLines, Throughput
from signwave.training.randomness import RandomState
from signwave.training.schedules import UNLIMITED_STEPS

if TYPE_CHECKING:
    from signwave.recipe import Recipe

log = logging.getLogger(__name__)

_MAX_BAD_LISTED = 100
_MAX_HEADLINE = 6
_MAY_CHANGE = (
    "max_steps",
    "max_epochs",
    "max_minutes",
    "progress_bar",
    "stall_seconds",
    "tensorboard",
    "num_workers",
    "num_threads",
)


class Session:
    """Trains a recipe once.

    Args:
        recipe: settings and parts.
        folder: the run folder, which exists.
        resume: continue from the newest valid checkpoint.
    """

    def __init__(self, recipe: "Recipe", folder: RunDir, *, resume: bool) -> None:
        self.recipe = recipe
        self.train = recipe.train
        self.folder = folder
        self.resume = resume

    def run(self) -> dict[str, Any]:
        """Train, test, export, write the results."""
        if self.resume and self.folder.results_json.exists():
            command.say(f"{self.folder.path}: already finished; results are in {self.folder.results_json}")
            finished: dict[str, Any] = read_json(self.folder.results_json)
            return finished
        if not (self.train.max_steps or self.train.max_epochs or self.train.max_minutes):
            raise ConfigError("train: no end is given; set train.max_steps, train.max_epochs or train.max_minutes")
        with _quiet_lightning():
            if self.train.num_threads:
                torch.set_num_threads(self.train.num_threads)
            pl.seed_everything(self.recipe.seed, verbose=False)
            self.data, self.module = self.recipe.build()
            self._make_callbacks()
            self.trainer = self._make_trainer()
            self._plan()
            self._write_settings()
            self._announce()
            try:
                self._fit()
                return self._finish()
            except SystemExit as error:
                if isinstance(error.__context__, KeyboardInterrupt):
                    raise KeyboardInterrupt from error  # Lightning turns it into exit code 1
                raise

    def _make_callbacks(self) -> None:
        train, path = self.train, self.folder.path
        self.keeper = KeepCheckpoints(
            self.folder.checkpoints,
            every_num_batches=train.checkpoint_every_steps * train.accumulate_grad_batches,
            monitor=train.monitor if self._validates else None,
            mode=train.monitor_mode,
        )
        self.limit = RunLimit(max_minutes=train.max_minutes)
        self.guard = NonFiniteGuard(path / "nonfinite.jsonl", patience=train.nonfinite_patience)
        self.watchdog = Watchdog(path / "stall.txt", stall_seconds=train.stall_seconds, reading=self._reading)
        throughput = Throughput(self.data, every_num_batches=train.log_every_steps * train.accumulate_grad_batches)
        self.callbacks: list[Callback] = [RandomState(), self.watchdog, self.guard, self.limit, throughput]
        if train.patience is not None and train.monitor is not None and self._validates:
            stop = EarlyStopping(
                train.monitor, mode=train.monitor_mode, patience=train.patience, check_on_train_epoch_end=False
            )
            self.callbacks.append(stop)
        if train.progress_bar:
            self.callbacks.append(TQDMProgressBar() if sys.stderr.isatty() else ProgressLines())
        self.callbacks += [self.keeper, SignalStop(self.keeper)]

    @property
    def _validates(self) -> bool:
        return self.data.splits["val"] is not None

    def _reading(self) -> str:
        reading = [
            f"{items.name} item {index}"
            for items in self.data.items.values()
            for index in items.current.tolist()
            if index >= 0
        ]
        return f"loaders were reading {', '.join(reading)}" if reading else ""

    def _make_trainer(self) -> pl.Trainer:
        train = self.train
        eval_batches: int | float = train.limit_eval_batches or 1.0
        try:
            return pl.Trainer(
                accelerator=train.accelerator,
                devices=train.devices,
                num_nodes=train.num_nodes,
                strategy=train.strategy,
                precision=train.precision,
                max_epochs=1,  # one stream of batches: see signwave.training.data
                accumulate_grad_batches=train.accumulate_grad_batches,
                gradient_clip_val=train.gradient_clip or None,
                deterministic="warn" if train.deterministic else None,
                check_val_every_n_epoch=None,
                val_check_interval=1,
                limit_val_batches=eval_batches if self._validates else 0,
                limit_test_batches=eval_batches,
                num_sanity_val_steps=0,
                log_every_n_steps=train.log_every_steps,
                use_distributed_sampler=False,
                enable_model_summary=False,
                enable_progress_bar=train.progress_bar and sys.stderr.isatty(),
                logger=self._make_loggers(),
                callbacks=self.callbacks,
                plugins=[SafeCheckpointIO()],
                default_root_dir=self.folder.path,
            )
        except pl.utilities.exceptions.MisconfigurationException as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"train: {reason}; train.accelerator=auto takes what this machine has") from error

    def _make_loggers(self) -> list[Any]:
        data = self.data
        loggers: list[Any] = [
            CsvMetrics(self.folder.metrics_csv, epoch=lambda: 0.0 if data.stream is None else data.stream.epoch)
        ]
        if self.train.tensorboard:
            require("tensorboard", extra="tensorboard")
            from pytorch_lightning.loggers import TensorBoardLogger

            loggers.append(TensorBoardLogger(self.folder.path, name="tensorboard", version=""))
        return loggers

    def _plan(self) -> None:
        """Length of the run and of the way between validations, in batches of this rank."""
        train, accumulate = self.train, self.train.accumulate_grad_batches
        per_epoch = self.data.batches_per_epoch(num_replicas=self.trainer.world_size)
        steps_per_epoch = per_epoch / accumulate
        limits = [train.max_steps] if train.max_steps else []
        if train.max_epochs:
            limits.append(math.ceil(train.max_epochs * steps_per_epoch))
        if not limits and self.data.needs_end:
            raise ConfigError("train: batches are mixed by a schedule over the run; set train.max_steps or max_epochs")
        num_steps = min(limits, default=UNLIMITED_STEPS)
        self.data.num_train_batches = num_steps * accumulate
        val_steps = train.val_every_steps or math.ceil(train.val_every_epochs * steps_per_epoch)
        self.trainer.val_check_interval = val_steps * accumulate
        self.num_batches_per_epoch = per_epoch

    def _write_settings(self) -> None:
        if not self.trainer.is_global_zero:
            return
        settings = config.plain(self.recipe)
        if self.resume and self.folder.config_yaml.exists():
            changed = _differences(config.read_yaml(self.folder.config_yaml), settings)
            changed = [text for text in changed if not any(f"train.{key}:" in text for key in _MAY_CHANGE)]
            if changed:
                command.say(f"warning: settings differ from those the run began with: {'; '.join(changed)}")
        atomic_write(self.folder.config_yaml, config.to_yaml(self.recipe))
        if not self.folder.env_json.exists():
            write_json(self.folder.env_json, environment())

    def _announce(self) -> None:
        if not self.trainer.is_global_zero:
            return
        train = self.data.splits["train"]
        num_items = 0 if train is None else len(train)
        hours = ""
        if train is not None and self.data.rate_hz:
            hours = f" ({sum(train.lengths) / self.data.rate_hz / 3600:.2f} h)"
        command.say(
            f"{self.recipe.name}: {num_items} items{hours}, {self.num_batches_per_epoch} batches an epoch, "
            f"{_num_parameters(self.module):,} parameters, {self.trainer.world_size} × "
            f"{self.trainer.strategy.root_device.type}, in {self.folder.path}"
        )
        if not (self.train.max_steps or self.train.max_epochs):
            command.say(
                "note: with train.max_minutes alone no schedule knows the run's end, so the learning rate stays at its "
                "peak; train.max_steps or train.max_epochs lets it fall"
            )

    def _fit(self) -> None:
        if self.train.compile:
            self._compile()
        start = checkpoints.latest_valid(self.folder.checkpoints) if self.resume else None
        if self.resume and start is None:
            command.say(f"{self.folder.checkpoints}: no valid checkpoint; starting from the beginning")
        try:
            self.trainer.fit(self.module, datamodule=self.data, ckpt_path=start, weights_only=True)
        finally:
            self.watchdog.stop()

    def _compile(self) -> None:
        if hasattr(self.module, "compile_parts"):
            self.module.compile_parts()
            return
        for part in self.module.children():
            part.compile(dynamic=True)

    def _finish(self) -> dict[str, Any]:
        """Test and export the best weights, then write results.json: its presence means the run is done."""
        trainer = self.trainer
        num_steps = trainer.global_step
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        trainer.strategy.barrier("checkpoints are written")
        best = checkpoints.latest_valid(self.folder.checkpoints, prefix="best")
        if best is not None:
            self.module.load_state_dict(checkpoints.load(best)["state_dict"])
            metrics |= self.keeper.best_metrics
        if self.data.splits["test"] is not None:
            trainer.test(self.module, datamodule=self.data, verbose=False)
            metrics |= {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("test/")}
        self.watchdog.stop()
        results = self._results(metrics, num_steps)
        if trainer.is_global_zero:
            if hasattr(self.module, "export"):
                self.module.export(self.folder.bundle)
            write_json(self.folder.results_json, results)
            report.run_page(self.folder.path).write(self.folder.report_html)
            figures = ", ".join(f"{k} {v:.4g}" for k, v in _headline(results["metrics"]))
            command.say(
                f"{self.recipe.name}: {figures or 'done'}; {num_steps} steps, {self.limit.seconds:.0f} s; "
                f"results in {self.folder.results_json}"
            )
        return results

    def _results(self, metrics: dict[str, float], num_steps: int) -> dict[str, Any]:
        bad = {name: items.bad for name, items in self.data.items.items() if items.bad}
        return {
            "name": self.recipe.name,
            "metrics": {name: value for name, value in sorted(metrics.items()) if math.isfinite(value)},
            "figures": self.module.figures() if hasattr(self.module, "figures") else {},
            "monitor": {"name": self.keeper.monitor, "mode": self.keeper.mode, "best": self.keeper.best},
            "seconds": round(self.limit.seconds, 3),
            "num_steps": num_steps,
            "num_epochs": round(self.data.stream.epoch, 3) if self.data.stream is not None else 0.0,
            "num_parameters": _num_parameters(self.module),
            "num_skipped_steps": self.guard.num_skipped,
            "num_bad_items": {name: len(items) for name, items in bad.items()},
            "bad_items": {name: list(items.values())[:_MAX_BAD_LISTED] for name, items in bad.items()},
            "seed": self.recipe.seed,
            "environment": environment(),
        }


def _headline(metrics: dict[str, float]) -> list[tuple[str, float]]:
    """The few figures that fit on the last line: those with the shortest names, which are the plainest."""
    names = sorted((name for name in metrics if name.startswith(("val/", "test/"))), key=lambda name: (len(name), name))
    return [(name, metrics[name]) for name in sorted(names[:_MAX_HEADLINE])]


def _num_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    changed = []
    for key in [*before, *(key for key in now if key not in before)]:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changed += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            changed.append(f"{prefix}{key}: {old} → {new}")
    return changed


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's banners and advice about loaders that aren't its own don't help the user of a recipe."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\..*")
        try:
            yield
        finally:
            logger.setLevel(level)
