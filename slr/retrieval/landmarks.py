"""One vector for a clip whose product with a text's vector is nearly the fine-grained score.

For a fixed clip the word half of the score is a mean over the words of a function f(w) of one word. That function is
read off at landmark words w*_1 … w*_m and described by a ridge regression on random features
φ(w) = [w, ReLU(R w + b) / √h, 1]:

    u = P y,  y_l = f(w*_l),  P = (ΦᵀΦ + λ I)⁻¹ Φᵀ,  and the word half of a text is about q · u with q = mean φ(w_j).

The sign half is the same with clip and text changed over: landmark signs, and a function of one sign for a fixed
text. So a clip's vector is [u, mean φ of its signs], a text's is [q, its own u]. P is the same for every item: adding
a clip touches nothing else. Random features: Rahimi and Recht, "Weighted sums of random kitchen sinks", NeurIPS 2008.
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
from slr.models.dual_encoder import Embedded, valid_mask
from slr.retrieval.similarity import INNER_TEMPERATURE

FloatArray = NDArray[np.float32]

NAME = "landmarks.npz"
_RIDGES = tuple(10.0**power for power in range(-6, 2))
_HELD_OUT = 0.2
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class Half:
    """The landmarks of one half of the score: words, which clips answer, or signs, which texts answer.

    Attributes:
        landmarks: (m, D) float32, unit length.
        projection: (h, D) float32, R.
        bias: (h,) float32, b.
        solver: (F, m) float32, P, where F = D + h + 1.
        temperature: () float32, of the fine-grained score.
        ridge: () float32, λ.
        error: () float32, root mean square error of f at landmarks that took no part in a fit with this λ.
    """

    landmarks: FloatArray
    projection: FloatArray
    bias: FloatArray
    solver: FloatArray
    temperature: FloatArray
    ridge: FloatArray
    error: FloatArray

    def features(self, tokens: Tensor) -> Tensor:
        """φ: (…, F) float32 of tokens (…, D) float32."""
        return _features(tokens, _tensor(self.projection, tokens), _tensor(self.bias, tokens))

    def mean_features(self, items: Embedded) -> Tensor:
        """(B, F) float32, mean φ of each item's tokens."""
        valid = valid_mask(items.num_tokens, items.tokens.shape[1])[..., None]
        total = torch.where(valid, self.features(items.tokens.float()), 0.0).sum(1)
        return total / items.num_tokens[:, None]

    def coefficients(self, items: Embedded) -> Tensor:
        """(B, F) float32, u of each item."""
        landmarks, solver = _tensor(self.landmarks, items.tokens), _tensor(self.solver, items.tokens)
        step = max(1, _BLOCK_ELEMENTS // (items.tokens.shape[1] * len(self.landmarks)))
        parts = [
            responses(items.tokens[i : i + step], items.num_tokens[i : i + step], landmarks, float(self.temperature))
            @ solver.T
            for i in range(0, len(items.tokens), step)
        ]
        return torch.cat(parts)

    def is_whole(self) -> bool:
        """Whether its parts fit each other."""
        dim, num_features = self.landmarks.shape[1], len(self.bias)
        return (self.solver.shape, self.projection.shape) == (
            (dim + num_features + 1, len(self.landmarks)),
            (num_features, dim),
        )


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Fitted landmarks of both halves."""

    words: Half
    signs: Half

    @property
    def error(self) -> float:
        """Root mean square error of both halves at landmarks that were left out."""
        return float(np.hypot(self.words.error, self.signs.error) / 2**0.5)

    def clip_vectors(self, clips: Embedded) -> FloatArray:
        """(A, F + F') float32."""
        return _array(torch.cat([self.words.coefficients(clips), self.signs.mean_features(clips)], dim=1))

    def query_vectors(self, texts: Embedded) -> FloatArray:
        """(C, F + F') float32; the product with a clip's is about the sum of both halves."""
        return _array(torch.cat([self.words.mean_features(texts), self.signs.coefficients(texts)], dim=1))

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


def responses(tokens: Tensor, num_tokens: Tensor, landmarks: Tensor, temperature: float) -> Tensor:
    """f: how well each landmark is answered by each item, its half of the score for an item of that one token.

    Args:
        tokens: (B, N, D), unit length, zero past num_tokens.
        num_tokens: (B,) int64.
        landmarks: (m, D), unit length.
        temperature: of the soft choice among the tokens.

    Returns:
        (B, m) float.
    """
    cosines = tokens @ landmarks.T
    blocked = ~valid_mask(num_tokens, tokens.shape[1])[..., None]
    weights = (cosines / temperature).masked_fill(blocked, -torch.inf).softmax(dim=1)
    return (cosines * weights).sum(dim=1)


def fit(
    texts: Embedded,
    clips: Embedded,
    *,
    num_landmarks: int = 4096,
    num_features: int = 512,
    temperature: float = INNER_TEMPERATURE,
    seed: int = 0,
) -> Landmarks:
    """Choose landmarks and solve for their ridges, whose strength is what foretells held-out landmarks best.

    Args:
        texts: captions of the same language as queries; their words are landmarks.
        clips: some clips of the same model; their signs are landmarks.
        num_landmarks: m at most, of each half.
        num_features: h.
        temperature: of the fine-grained score.
        seed: of every draw.
    """
    options = {"num_landmarks": num_landmarks, "num_features": num_features, "temperature": temperature, "seed": seed}
    return Landmarks(_fit_half(texts, clips, **options), _fit_half(clips, texts, **options))  # type: ignore[arg-type]


def _fit_half(
    given: Embedded, answering: Embedded, *, num_landmarks: int, num_features: int, temperature: float, seed: int
) -> Half:
    """One half: landmarks are tokens of `given`, which items of `answering` answer."""
    rng = np.random.default_rng(seed)
    tokens = given.tokens[valid_mask(given.num_tokens, given.tokens.shape[1])].double().cpu()
    chosen = tokens[torch.from_numpy(rng.permutation(len(tokens))[:num_landmarks])]
    projection = torch.from_numpy(rng.normal(size=(num_features, chosen.shape[1])))
    bias = torch.from_numpy(rng.normal(size=num_features))
    phi = _features(chosen, projection, bias)
    sizes = answering.num_tokens[:_MEASURED].cpu()
    targets = responses(answering.tokens[:_MEASURED].cpu().double(), sizes, chosen, temperature).T  # (m, B)
    held = max(1, int(_HELD_OUT * len(chosen)))
    ridge, error = _best_ridge(phi[held:], targets[held:], phi[:held], targets[:held])
    solver = torch.linalg.solve(phi.T @ phi + ridge * torch.eye(phi.shape[1], dtype=phi.dtype), phi.T)
    parts = (_array(part) for part in (chosen, projection, bias, solver))
    return Half(*parts, *(np.float32(value) for value in (temperature, ridge, error)))  # type: ignore[arg-type]


_MEASURED = 64  # items that decide on the strength of a ridge


def _best_ridge(phi: Tensor, targets: Tensor, held_phi: Tensor, held_targets: Tensor) -> tuple[float, float]:
    """λ and its root mean square error at the landmarks that are held out."""
    values, vectors = torch.linalg.eigh(phi.T @ phi)
    rotated, held = vectors.T @ (phi.T @ targets), held_phi @ vectors
    errors = {}
    for ridge in _RIDGES:
        # The scale of λ is that of the features, so that it means the same for any number of landmarks.
        strength = ridge * float(values.max())
        foretold = held @ (rotated / (values.clamp(min=0) + strength)[:, None])
        errors[strength] = float((foretold - held_targets).square().mean().sqrt())
    best = min(errors, key=errors.__getitem__)
    return best, errors[best]


def _features(tokens: Tensor, projection: Tensor, bias: Tensor) -> Tensor:
    hidden = torch.relu(tokens @ projection.T + bias) / len(bias) ** 0.5
    return torch.cat([tokens, hidden, tokens.new_ones((*tokens.shape[:-1], 1))], dim=-1)


def _tensor(values: FloatArray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, like.dtype)


def _array(values: Tensor) -> FloatArray:
    return np.asarray(values.float().cpu().numpy(), dtype=np.float32)
