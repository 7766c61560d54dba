"""A recipe that trains in a second and draws from every source of randomness; with switches that break it on purpose.

Run as a script by the kill tests, imported by the others.
"""

import os
import random
import signal
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import nn

from signwave.errors import MediaError
from signwave.recipe import Recipe, TrainConfig, main
from signwave.training.ctc_module import CtcBatch
from signwave.training.data import DataModule


class TinyData:
    """Lengths 3 to 9, two features; the noise comes from the draw's seed."""

    def __init__(self, num_items, *, bad=(), stuck=-1, dead=-1, length=0):
        self.lengths = [length or 3 + i % 7 for i in range(num_items)]
        self.bad, self.stuck, self.dead = set(bad), stuck, dead

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, draw):
        if draw.index in self.bad:
            raise MediaError(f"clip{draw.index}.mp4", "truncated after 5 of 500 frames")
        if draw.index == self.stuck:
            os.kill(os.getpid(), signal.SIGSTOP)
        if draw.index == self.dead:
            os.kill(os.getpid(), signal.SIGKILL)
        features = np.full((self.lengths[draw.index], 2), draw.index / 10, dtype=np.float32)
        noise = np.random.default_rng(draw.seed).normal(size=features.shape)
        return draw.index, torch.from_numpy((features + noise).astype(np.float32))

    def collate(self, items):
        return CtcBatch(
            inputs=nn.utils.rnn.pad_sequence([features for _, features in items], batch_first=True),
            num_frames=torch.tensor([len(features) for _, features in items]),
            labels=torch.ones(len(items), 1, dtype=torch.int64),
            num_labels=torch.ones(len(items), dtype=torch.int64),
            ids=tuple(f"clip{index}" for index, _ in items),
        )


class TinyModule(LightningModule):
    """Regression with dropout, and numpy's and python's global randomness in the loss."""

    def __init__(self, recipe):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(recipe.dropout), nn.Linear(8, 1))
        self.signal_at, self.crash_at, self.nan_at, self.step_seconds = (
            recipe.signal_at,
            recipe.crash_at,
            recipe.nan_at,
            recipe.step_seconds,
        )
        self.signal_in_validation = recipe.signal_in_validation
        self.noisy = recipe.dropout > 0
        self.seen = []

    def training_step(self, batch, batch_idx):
        time.sleep(self.step_seconds)
        number = self.trainer.fit_loop.epoch_loop.total_batch_idx
        if number == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if number == self.crash_at:
            raise RuntimeError("crashed on purpose")
        self.seen.append(batch.ids)
        self.scale = 1.0 if self.noisy else 0.0
        target = random.random() + np.random.rand()  # noqa: NPY002 - the global state is what is tested
        loss = (self.net(batch.inputs).mean(dim=(1, 2)) - target * self.scale).square().mean()
        if self.nan_at >= 0 and number >= self.nan_at:
            loss = loss * float("nan") if number < self.nan_at + 1 or self.nan_at == 0 else loss
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        return loss

    def validation_step(self, batch, batch_idx):
        if self.signal_in_validation:
            os.kill(os.getpid(), signal.SIGTERM)
        self.log("val/loss", self.net(batch.inputs).square().mean(), batch_size=len(batch))

    def test_step(self, batch, batch_idx):
        self.log("test/loss", self.net(batch.inputs).square().mean(), batch_size=len(batch))

    def configure_optimizers(self):
        optimiser = torch.optim.AdamW(self.parameters(), lr=0.05)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=total)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@dataclass
class Tiny(Recipe):
    """Tiny."""

    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            max_epochs=3, budget=30, monitor="val/loss", checkpoint_every_steps=1, log_every_steps=1, num_threads=1
        )
    )
    num_items: int = 17
    bad: list[int] = field(default_factory=list)
    stuck: int = -1
    dead: int = -1
    signal_at: int = -1
    crash_at: int = -1
    nan_at: int = -1
    step_seconds: float = 0.0
    signal_in_validation: bool = False
    dropout: float = 0.3
    length: int = 0

    def build(self):
        data = DataModule(
            TinyData(self.num_items, bad=self.bad, stuck=self.stuck, dead=self.dead, length=self.length),
            TinyData(5),
            TinyData(4),
            budget=self.train.budget,
            seed=self.seed,
            num_workers=self.train.num_workers,
            num_buckets=1 if self.length else 30,  # one permutation, whatever the size of a rank's batch
        )
        self.module = TinyModule(self)  # tests look at it
        return data, self.module


if __name__ == "__main__":
    main(Tiny)
