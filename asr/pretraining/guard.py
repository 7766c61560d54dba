"""The health guard: a collapsed contrastive run goes back to its last good state, slower, and names the batch."""

from __future__ import annotations

import json
import logging
import math
import statistics
from collections import deque
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback

from asr.pretraining.health import GuardConfig, Health
from signwave.errors import UserError
from signwave.training import checkpoints

log = logging.getLogger(__name__)

_SPIKE = 5.0
"""A gradient this many times the usual one is a spike."""
_MAX_IDS_SAID = 8
_KEEP = 2


class HealthGuard(Callback):
    """Watches each optimiser step, keeps good states, rolls back after a collapse.

    The module offers `health` (figures of the last step), `rate_scale` (a factor of the learning rate) and
    `apply_rate()`. States lie in `good/` of the run folder, reports in `health.jsonl`.

    A batch is blamed: the one with a spike of the gradient shortly before the first unhealthy step, else the one whose
    update came right before it.

    Args:
        config: thresholds.
    """

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.rollbacks: list[dict[str, Any]] = []
        """What was reported, in order."""
        self._num_healthy = 0
        self._num_unhealthy = 0
        self._first_bad_step = 0
        self._armed = False
        self._warned = False
        self._ids: list[str] = []
        self._recent: deque[dict[str, Any]] = deque(maxlen=2 * config.patience + 20)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run decides by."""
        return {
            "rollbacks": self.rollbacks, "num_healthy": self._num_healthy, "num_unhealthy": self._num_unhealthy,
            "first_bad_step": self._first_bad_step, "armed": self._armed, "warned": self._warned,
            "recent": list(self._recent),
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on deciding."""
        self.rollbacks = list(state_dict["rollbacks"])
        self._num_healthy, self._num_unhealthy = state_dict["num_healthy"], state_dict["num_unhealthy"]
        self._first_bad_step = state_dict["first_bad_step"]
        self._armed, self._warned = state_dict["armed"], state_dict["warned"]
        self._recent.extend(state_dict["recent"])

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Remember which clips make up the step."""
        self._ids += batch.ids

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Judge the step that ended."""
        if (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        ids, self._ids = self._ids, []
        health: Health = pl_module.health
        self._recent.append({"step": trainer.global_step, "ids": ids, "gradient_norm": health.gradient_norm})
        if not math.isfinite(health.loss):
            return  # NonFiniteGuard has dealt with it
        problem = self.config.problem(health)
        if not problem:
            self._on_healthy(trainer, pl_module)
            return
        self._num_healthy = 0
        self._num_unhealthy += 1
        if self._num_unhealthy == 1:
            self._first_bad_step = trainer.global_step
        if self._num_unhealthy >= self.config.patience:
            self._on_collapse(trainer, pl_module, problem)

    def _on_healthy(self, trainer: Any, module: Any) -> None:
        self._num_unhealthy = 0
        self._num_healthy += 1
        due = trainer.global_step % self.config.snapshot_every_steps == 0
        if self._num_healthy >= self.config.patience and (due or not self._armed):
            self._armed = True
            self._save(trainer, module)

    def _on_collapse(self, trainer: Any, module: Any, problem: str) -> None:
        if not self._armed:
            if not self._warned and trainer.global_step >= self.config.grace_steps:
                self._warned = True
                log.warning("step %d: %s, and so it was from the start; a larger batch or objective.kind=best_rq may "
                            "help", trainer.global_step, problem)  # fmt: skip
            return
        blamed = self._blamed()
        report = {
            "step": trainer.global_step, "first_bad_step": self._first_bad_step, "problem": problem,
            "figures": module.health.to_dict(), "blamed_step": blamed["step"], "blamed_because": blamed["because"],
            "blamed_ids": blamed["ids"],
        }  # fmt: skip
        good = None if len(self.rollbacks) >= self.config.max_rollbacks else self._good_state(trainer)
        if good is not None:
            self._restore(trainer, module, good)
            report |= {"rolled_back_to": _step_of(good), "rate_scale": module.rate_scale}
        self.rollbacks.append(report)
        self._tell(trainer, report)
        if good is None:
            raise UserError(
                f"the codes collapsed {len(self.rollbacks)} times, last at step {trainer.global_step} ({problem}) "
                f"after step {blamed['step']} with clips {_said(blamed['ids'])}; lower optimiser.learning_rate, look "
                "at those clips, or take objective.kind=best_rq"
            )
        self._num_unhealthy = 0

    def _blamed(self) -> dict[str, Any]:
        """The step whose batch did it, and why it is thought so."""
        before = [step for step in self._recent if step["step"] < self._first_bad_step] or list(self._recent)
        norms = [step["gradient_norm"] for step in before if math.isfinite(step["gradient_norm"])]
        usual = statistics.median(norms) if norms else math.inf
        spikes = [step for step in before[-self.config.patience :] if step["gradient_norm"] > _SPIKE * usual]
        if spikes:
            worst = max(spikes, key=lambda step: float(step["gradient_norm"]))
            return {**worst, "because": f"its gradient was {worst['gradient_norm'] / usual:.0f} times the usual one"}
        return {**before[-1], "because": "its update came right before the first unhealthy step"}

    def _folder(self, trainer: Any) -> Path:
        return Path(trainer.default_root_dir) / "good"

    def _save(self, trainer: Any, module: Any) -> None:
        if trainer.is_global_zero:
            state = {"state_dict": module.state_dict(), "optimizer": trainer.optimizers[0].state_dict()}
            path = self._folder(trainer) / f"step-{trainer.global_step:09d}.ckpt"
            checkpoints.save(path, state)
            checkpoints.prune(path.parent, prefix="step", keep=_KEEP, newest=path)
        trainer.strategy.barrier("a good state is written")

    def _good_state(self, trainer: Any) -> Path | None:
        """The newest state from before the collapse that didn't lead into the last one."""
        used = self.rollbacks[-1]["rolled_back_to"] if self.rollbacks else -1
        valid = [path for path in checkpoints.list_steps(self._folder(trainer)) if checkpoints.is_valid(path)]
        older = [path for path in valid if _step_of(path) < self._first_bad_step - 1]
        fresh = [path for path in older if _step_of(path) != used]
        return next(iter(fresh or older), None)

    def _restore(self, trainer: Any, module: Any, path: Path) -> None:
        state = checkpoints.load(path)
        module.load_state_dict(state["state_dict"])
        trainer.optimizers[0].load_state_dict(state["optimizer"])
        module.rate_scale *= self.config.rate_factor
        module.apply_rate()

    def _tell(self, trainer: Any, report: dict[str, Any]) -> None:
        if not trainer.is_global_zero:
            return
        with open(Path(trainer.default_root_dir) / "health.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(report, ensure_ascii=False) + "\n")
        done = (
            f"back to step {report['rolled_back_to']} with {report['rate_scale']:g} of the learning rate"
            if "rolled_back_to" in report
            else "given up"
        )
        log.warning("step %d: %s; %s; blamed is the batch of step %d (%s): %s", report["step"], report["problem"], done,
                    report["blamed_step"], report["blamed_because"], _said(report["blamed_ids"]))  # fmt: skip


def _step_of(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _said(ids: list[str]) -> str:
    more = f" and {len(ids) - _MAX_IDS_SAID} more" if len(ids) > _MAX_IDS_SAID else ""
    return ", ".join(ids[:_MAX_IDS_SAID]) + more
