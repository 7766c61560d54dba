"""Window features that are made up in memory, for `--smoke` and tests: every word of a caption has a direction."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.manifest import Clip
from slr.features.windows import SlidingWindows
from slr.retrieval.recipe import CaptionedCorpusConfig, ClipSource

_WORDS = {
    "en": ("rain", "sun", "wind", "snow", "north", "south", "today", "night"),
    "de": ("Regen", "Sonne", "Wind", "Schnee", "Norden", "Süden", "heute", "Nacht"),
}
_WINDOWS_A_WORD = 3


@dataclass
class MadeUpWindows(CaptionedCorpusConfig):
    """Two streams of noisy directions for sentences of two to four words in two languages; each is performed twice."""

    num_sentences: int = 12
    stream_dims: tuple[int, ...] = (12, 6)
    noise: float = 0.3
    num_groups: int = 8

    def clips(self) -> dict[str, list[Clip]]:
        """As many sentences for each split, by other people."""
        return {split: self._split(split, number) for number, split in enumerate(("train", "val", "test"))}

    def source(self, max_tokens: int) -> ClipSource:
        """Features by the words of a clip's text."""
        windows = [dataclasses.asdict(SlidingWindows(most=max_tokens))] * len(self.stream_dims)
        streams = [
            {"name": f"stream{n}", "dim": dim, "alpha": 1.0, "fusion": "mix", "rate_hz": 25.0, "windows": windows[n]}
            for n, dim in enumerate(self.stream_dims)
        ]
        return ClipSource(_Reader(self, max_tokens), list(self.stream_dims), {"streams": streams})

    def _split(self, split: str, number: int) -> list[Clip]:
        rng = np.random.default_rng([7, number])
        found = []
        for sentence in range(self.num_sentences):
            words = rng.choice(len(_WORDS["en"]), int(rng.integers(2, 5)), replace=False)
            captions = {language: " ".join(names[i] for i in words) for language, names in _WORDS.items()}
            for person in ("ann", "ben"):
                name = f"{split}-{sentence}"
                found.append(
                    Clip(
                        id=f"{name}-{person}", path="made-up", kind="pose", text=" ".join(map(str, words)),
                        captions=captions, group=name, person=person, split=split,
                    )
                )  # fmt: skip
        return found


class _Reader:
    """Reads the features of a clip out of its text."""

    def __init__(self, config: MadeUpWindows, max_tokens: int) -> None:
        self.noise, self.max_tokens = config.noise, max_tokens
        self._directions = np.random.default_rng(8).normal(size=(len(_WORDS["en"]), sum(config.stream_dims)))

    def has(self, clip: Clip) -> bool:
        """Always."""
        return bool(clip.text)

    def problem(self, clip: Clip) -> str:
        """Never."""
        return f"{clip.id} has no words"

    def read(self, clip: Clip) -> NDArray[np.float32]:
        """(M, sum of dims) float32."""
        words = [int(word) for word in clip.text.split() for _ in range(_WINDOWS_A_WORD)][: self.max_tokens]
        seed: Any = list(clip.id.encode())
        noise = np.random.default_rng(seed).normal(size=(len(words), self._directions.shape[1]))
        return (self._directions[words] + self.noise * noise).astype(np.float32)
