"""One vector for a clip whose product with a text's vector is nearly the fine-grained score.

Each half of the score is nearly an inner product (see `landmark_half`): in one the words of a text choose among the
signs of a clip, in the other the signs among the words. A clip's vector is what its signs answer to landmark words
beside the features of its signs; a text's is the features of its words beside what they answer to landmark signs.
What makes them is the same for every item: adding a clip touches nothing else.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.errors import ArtefactError
from signwave.rundir import atomic_path
from slr.models.dual_encoder import Embedded
from slr.retrieval.search.landmark_half import Half, fit_half
from slr.retrieval.similarity import INNER_TEMPERATURE

FloatArray = NDArray[np.float32]

NAME = "landmarks.npz"


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Fitted landmarks of both halves."""

    words: Half
    signs: Half

    @property
    def error(self) -> float:
        """Root mean square error of both halves at landmarks that were left out."""
        return float(np.hypot(self.words.error, self.signs.error) / 2**0.5)

    @torch.no_grad()
    def clip_vectors(self, clips: Embedded) -> FloatArray:
        """(A, F + F') float32."""
        return _array(torch.cat([self.words.answering(clips), self.signs.asking(clips)], dim=1))

    @torch.no_grad()
    def query_vectors(self, texts: Embedded) -> FloatArray:
        """(C, F + F') float32; the product with a clip's is about the sum of both halves."""
        return _array(torch.cat([self.words.asking(texts), self.signs.answering(texts)], dim=1))

    def save(self, path: str | Path) -> None:
        """Write one .npz, atomically."""
        parts = {f"{half.name}.{part.name}": getattr(getattr(self, half.name), part.name)
                 for half in fields(self) for part in fields(Half)}  # fmt: skip
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **parts)

    @classmethod
    def load(cls, path: str | Path) -> Landmarks:
        """Read what `save` wrote.

        Raises:
            ArtefactError: it is missing or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                halves = [
                    Half(**{part.name: np.asarray(stored[f"{half.name}.{part.name}"], np.float32)
                            for part in fields(Half)})
                    for half in fields(cls)
                ]  # fmt: skip
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ArtefactError(f"{path}: no landmarks can be read there ({error}); export the model again") from error
        if not all(half.is_whole() for half in halves):
            raise ArtefactError(f"{path}: its parts don't fit each other; export the model again")
        return cls(*halves)


def fit(
    texts: Embedded,
    clips: Embedded,
    *,
    num_landmarks: int = 4096,
    num_features: int = 512,
    dim: int = 640,
    temperature: float = INNER_TEMPERATURE,
    seed: int = 0,
) -> Landmarks:
    """Choose landmarks, solve for their ridges, and keep the coordinates that matter most.

    Args:
        texts: captions of the same language as queries; their words are landmarks.
        clips: some clips of the same model, best several hundred; their signs are landmarks.
        num_landmarks: m at most, of each half.
        num_features: h at most, of each half.
        dim: numbers in a vector at most.
        temperature: of the fine-grained score.
        seed: of every draw.
    """
    options = {"num_landmarks": num_landmarks, "num_features": num_features, "temperature": temperature, "seed": seed}
    halves = [fit_half(texts, clips, **options), fit_half(clips, texts, **options)]  # type: ignore[arg-type]
    least = np.sort(np.concatenate([half.weights for half in halves]))[::-1][:dim][-1]
    return Landmarks(*(half.shortened(max(1, int((half.weights >= least).sum()))) for half in halves))


def _array(values: Tensor) -> FloatArray:
    return np.asarray(values.float().cpu().numpy(), dtype=np.float32)
