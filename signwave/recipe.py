"""What every recipe script shares: its command line, its run folder, and the order of a run.

A recipe is a dataclass that derives from `Recipe` and names its parts in `build`:

    @dataclass
    class ToyCtc(Recipe):
        learning_rate: float = 1e-2

        def build(self) -> Parts:
            return DataModule(...), CtcModule(...)

    if __name__ == "__main__":
        main(ToyCtc)
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import argparse
import dataclasses
import inspect
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from signwave import command, config
from signwave.errors import UserError
from signwave.rundir import RunDir

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from signwave.training.data import DataModule

Parts: TypeAlias = "tuple[DataModule, pl.LightningModule]"
AnyRecipe = TypeVar("AnyRecipe", bound="Recipe")

log = logging.getLogger(__name__)


@dataclass
class TrainConfig:
    """How to train; what to train is the recipe's own. At least one of the three max_ values must be given."""

    max_steps: int | None = None
    """Optimiser steps; the schedule of the learning rate ends here."""
    max_epochs: int | None = None
    """Passes over the training data."""
    max_minutes: float | None = None
    """Training time over all resumes. A schedule doesn't know it: give max_steps too."""
    budget: int = 8000
    """Frames or samples of a padded batch (items × longest)."""
    num_workers: int = 0
    """Loader processes a split."""
    num_threads: int = 0
    """CPU threads of this process; 0 leaves it to torch. On busy cores 1 is many times faster for small models."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accumulate_grad_batches: int = 1
    gradient_clip: float = 0.0
    """Largest gradient norm; 0 doesn't clip."""
    compile: bool = False
    """torch.compile the parts of the module."""
    deterministic: bool = False
    """Deterministic kernels where there are any; a warning names the others."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    """Lightning's name: auto, ddp, fsdp, …"""
    val_every_steps: int | None = None
    """Optimiser steps between validations; None validates every val_every_epochs. The end is always validated."""
    val_every_epochs: int = 1
    monitor: str | None = "val/wer"
    """Metric that decides the best weights and early stopping; None takes the last weights."""
    monitor_mode: Literal["min", "max"] = "min"
    patience: int | None = None
    """Stop after this many validations without improvement."""
    checkpoint_every_steps: int = 500
    """Optimiser steps between two saves, beside the one after each validation; 0 for none."""
    log_every_steps: int = 10
    nonfinite_patience: int = 10
    """Stop after this many steps in a row whose gradient isn't finite; each is skipped and its clips are named."""
    stall_seconds: float = 900.0
    """End the process when no batch finishes for so long; 0 waits for ever."""
    limit_eval_batches: int = 0
    """Batches of a validation or test; 0 for all."""
    progress_bar: bool = True
    """A bar on a terminal, a line every 30 s elsewhere."""
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("max_steps", "max_epochs", "max_minutes", "val_every_steps", "patience"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"train.{name} must be positive or null, got {value}")
        for name in (
            "accumulate_grad_batches",
            "devices",
            "num_nodes",
            "val_every_epochs",
            "log_every_steps",
            "budget",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "gradient_clip",
            "checkpoint_every_steps",
            "stall_seconds",
            "limit_eval_batches",
            "num_workers",
            "num_threads",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name} must not be negative, got {getattr(self, name)}")


@dataclass
class Recipe:
    """Base of every recipe: fields are its settings, `build` names its parts."""

    name: str = ""
    """Name of the run folder; empty takes the script's name."""
    seed: int = 0
    runs_dir: str = "runs"
    train: TrainConfig = field(default_factory=TrainConfig)

    def build(self) -> Parts:
        """The data and the module, ready to train. Random numbers are seeded before."""
        raise NotImplementedError(f"{type(self).__name__} must define build()")

    def smoke(self: AnyRecipe) -> AnyRecipe:
        """A copy for `--smoke`: two steps and one evaluation batch.

        A recipe on a real corpus overrides this and also swaps its data for made-up data:
        `dataclasses.replace(super().smoke(), data=ToyData())`.
        """
        train = dataclasses.replace(
            self.train,
            max_steps=2,
            max_epochs=None,
            max_minutes=None,
            accelerator="cpu",
            precision="32-true",
            devices=1,
            num_nodes=1,
            strategy="auto",
            accumulate_grad_batches=1,
            val_every_steps=2,
            log_every_steps=1,
            limit_eval_batches=1,
            compile=False,
            tensorboard=False,
            num_threads=1,
        )
        return dataclasses.replace(self, name=f"{self.name}-smoke", train=train)


def run(recipe: Recipe, *, resume: bool = False, overwrite: bool = False) -> dict[str, Any]:
    """Train, keep the best weights, test, export: everything after the parts are named.

    Args:
        recipe: its `name` and `runs_dir` give the run folder.
        resume: continue from the newest valid checkpoint of the run folder (from the start if there is none).
        overwrite: delete an earlier run of that name first.

    Returns:
        What results.json holds.

    Raises:
        UserError: the run folder is taken, the data or the settings can't be used, or training broke down.
        Interrupted: a signal ended it; the state is saved.
    """
    from signwave.training.session import Session

    return Session(recipe, _open_folder(recipe, resume=resume, overwrite=overwrite), resume=resume).run()


def _open_folder(recipe: Recipe, *, resume: bool, overwrite: bool) -> RunDir:
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    name = recipe.name or _stem(type(recipe))
    if name in (".", "..") or Path(name).name != name:  # --overwrite deletes the folder: it must lie in runs_dir
        raise UserError(f"name={name}: must be the plain name of a folder; runs_dir=… says where it lies")
    folder = RunDir(Path(recipe.runs_dir) / name)
    if rank_zero_only.rank != 0:
        return folder
    taken = folder.config_yaml.exists()
    if taken and overwrite and not resume:
        shutil.rmtree(folder.path)
    elif taken and not resume:
        raise UserError(
            f"{folder.path}: already holds a run; --resume continues it, name=OTHER starts another, "
            "--overwrite replaces it"
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    return folder


def main(recipe_class: type[Recipe], argv: Sequence[str] | None = None) -> None:
    """Run a recipe from the command line and end the process with its exit code."""
    sys.exit(execute(recipe_class, argv))


def execute(recipe_class: type[Recipe], argv: Sequence[str] | None = None) -> int:
    """Run a recipe from the command line.

    Returns:
        0 done, 1 could not (one line says why), 130 or 143 interrupted (saved, --resume continues). Wrong usage raises
        SystemExit(2).
    """
    parser = _parser(recipe_class)
    arguments = parser.parse_intermixed_args(argv)
    overrides = [text for text in arguments.settings if "=" in text]
    files = [text for text in arguments.settings if "=" not in text]
    if len(files) > 1 or any(not name.endswith((".yaml", ".yml")) for name in files):
        parser.error(f"expected one YAML file and key=value settings, got {' '.join(files)}")
    command.setup_logging(verbosity=-1 if arguments.quiet else 0)
    try:
        return _execute(recipe_class, Path(files[0]) if files else default_yaml(recipe_class), overrides, arguments)
    except UserError as error:
        return command.fail(str(error))
    except OSError as error:
        return command.fail(command.os_error_text(error))
    except KeyboardInterrupt:
        command.say("interrupted; --resume continues from the last checkpoint")
        return command.EXIT_INTERRUPTED


def _execute(
    recipe_class: type[Recipe], yaml_path: Path | None, overrides: list[str], arguments: argparse.Namespace
) -> int:
    recipe = config.load(recipe_class, yaml_path, overrides)
    recipe.name = recipe.name or _stem(recipe_class)
    if arguments.smoke:
        recipe = recipe.smoke()
    if arguments.dry_run:
        sys.stdout.write(config.to_yaml(recipe))
        return command.EXIT_DONE
    from signwave.training.guards import Interrupted

    try:
        run(
            recipe, resume=arguments.resume, overwrite=arguments.overwrite or (arguments.smoke and not arguments.resume)
        )
    except Interrupted as interruption:
        command.say(str(interruption))
        return interruption.exit_code
    return command.EXIT_DONE


def default_yaml(recipe_class: type[Recipe]) -> Path | None:
    """conf/SIDE/STEM.yaml for recipes/SIDE/STEM.py, if there is one."""
    script = _script(recipe_class)
    if script is None or len(script.parents) < 3:
        return None
    path = script.parents[2] / "conf" / script.parent.name / f"{script.stem}.yaml"
    return path if path.is_file() else None


def _script(recipe_class: type[Recipe]) -> Path | None:
    try:
        return Path(inspect.getfile(recipe_class)).resolve()
    except (TypeError, OSError):
        return None


def _stem(recipe_class: type[Recipe]) -> str:
    script = _script(recipe_class)
    return script.stem if script is not None else recipe_class.__name__


def _parser(recipe_class: type[Recipe]) -> argparse.ArgumentParser:
    module = sys.modules.get(recipe_class.__module__)
    stem = _stem(recipe_class)
    script = _script(recipe_class)
    shown = f"recipes/{script.parent.name}/{stem}.py" if script is not None else stem
    parser = argparse.ArgumentParser(
        prog=shown,
        description=(module.__doc__ if module is not None else None) or recipe_class.__doc__,
        epilog=f"example: python {shown} train.max_steps=100 seed=1 name={stem}-short",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --re must not resume or replace a run
    )
    parser.add_argument(
        "settings", nargs="*", metavar="conf.yaml|key=value", help="a YAML file with settings, and single settings"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="print the resolved settings and stop")
    parser.add_argument("--smoke", action="store_true", help="two steps on made-up data, in runs/NAME-smoke")
    parser.add_argument("--resume", action="store_true", help="continue the run from its newest valid checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run of the same name")
    parser.add_argument("-q", "--quiet", action="store_true", help="errors only")
    return parser
