"""Made-up signs: each gloss is a short path through feature space, a sentence is glosses with pauses between them.

For tests, the toy recipe and as a template of a dataset: everything a dataset must offer is here, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from signwave.sampling import Draw
from signwave.text import BLANK_TOKEN, Vocabulary
from signwave.training.ctc_module import CtcBatch
from signwave.training.data import DataModule

_GLOSS_FRAMES = (5, 9)
_PAUSE_FRAMES = (1, 4)


@dataclass
class ToyDataConfig:
    """Size of the made-up corpus."""

    num_glosses: int = 10
    feature_dim: int = 16
    num_train: int = 400
    num_eval: int = 60
    max_glosses: int = 5
    """Longest sentence."""
    noise: float = 0.2
    """Standard deviation of the noise that is drawn anew each time an item is read."""

    def __post_init__(self) -> None:
        for name in ("num_glosses", "feature_dim", "num_train", "num_eval", "max_glosses"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} must be at least 1, got {getattr(self, name)}")

    def vocabulary(self) -> Vocabulary:
        """The glosses G1, G2, …"""
        return Vocabulary((BLANK_TOKEN, *(f"G{i}" for i in range(1, self.num_glosses + 1))))

    def build(self, *, budget: int, seed: int = 0, num_workers: int = 0) -> DataModule:
        """The three splits."""
        sizes = (self.num_train, self.num_eval, self.num_eval)
        train, val, test = (ToySigns(self, num_items=size, split=split) for split, size in enumerate(sizes))
        return DataModule(train, val, test, budget=budget, seed=seed, num_workers=num_workers)


@dataclass(frozen=True)
class _Item:
    features: npt.NDArray[np.float32]
    labels: tuple[int, ...]
    id: str


class ToySigns:
    """One split of made-up sentences, the same on every machine.

    Args:
        config: size of the corpus.
        num_items: sentences.
        split: 0 train, 1 val, 2 test; sentences differ, glosses are the same.
    """

    def __init__(self, config: ToyDataConfig, *, num_items: int, split: int) -> None:
        self._config = config
        self._split = split
        paths = np.random.default_rng(0).normal(size=(config.num_glosses + 1, 2, config.feature_dim))
        self._paths = paths.astype(np.float32)
        self._sentences = [self._sentence(i) for i in range(num_items)]
        self.lengths: Sequence[int] = [sum(frames) for _, frames in self._sentences]

    def __len__(self) -> int:
        return len(self._sentences)

    def __getitem__(self, draw: Draw) -> _Item:
        labels, frames = self._sentences[draw.index]
        parts = []
        for place, num_frames in enumerate(frames):
            gloss = labels[place // 2] if place % 2 else 0  # pauses stand at even places
            share = np.linspace(0, 1, num_frames, dtype=np.float32)[:, None]
            parts.append((1 - share) * self._paths[gloss, 0] + share * self._paths[gloss, 1] * (gloss > 0))
        features = np.concatenate(parts)
        noise = np.random.default_rng(draw.seed).normal(scale=self._config.noise, size=features.shape)
        return _Item((features + noise).astype(np.float32), labels, f"toy-{self._split}-{draw.index}")

    def collate(self, items: list[_Item]) -> CtcBatch:
        """Pad with zeros."""
        return CtcBatch(
            inputs=_pad([torch.from_numpy(item.features) for item in items]),
            num_frames=torch.tensor([len(item.features) for item in items]),
            labels=_pad([torch.tensor(item.labels) for item in items]),
            num_labels=torch.tensor([len(item.labels) for item in items]),
            ids=tuple(item.id for item in items),
        )

    def _sentence(self, index: int) -> tuple[tuple[int, ...], list[int]]:
        """Labels, and frames of pause, gloss, pause, gloss, …, pause."""
        rng = np.random.default_rng([self._split, index])
        num_glosses = int(rng.integers(1, self._config.max_glosses + 1))
        labels = tuple(int(g) for g in rng.integers(1, self._config.num_glosses + 1, size=num_glosses))
        bounds = [_GLOSS_FRAMES if place % 2 else _PAUSE_FRAMES for place in range(2 * num_glosses + 1)]
        return labels, [int(rng.integers(*bound)) for bound in bounds]


def _pad(tensors: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
