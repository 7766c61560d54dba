"""One vector for a clip whose product with a text's vector is nearly the word half of the fine-grained score.

For a fixed clip the word half is a mean over the words of a function f(w) of one word. That function is read off at
landmark words w*_1 … w*_m and described by a ridge regression on random features φ(w) = [w, ReLU(R w + b) / √h, 1]:

    u = P y,  y_l = f(w*_l),  P = (ΦᵀΦ + λ I)⁻¹ Φᵀ,  and the word half of a text is about q · u with q = mean φ(w_j).

P is the same for every clip, so adding a clip is one product and touches nothing else. Random ReLU features: Rahimi and
Recht, "Weighted sums of random kitchen sinks", NeurIPS 2008.
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
class Landmarks:
    """Fitted landmarks.

    Attributes:
        words: (m, D) float32, landmark words, unit length.
        projection: (h, D) float32, R.
        bias: (h,) float32, b.
        solver: (F, m) float32, P, where F = D + h + 1.
        temperature: () float32, of the fine-grained score.
        ridge: () float32, λ.
        error: () float32, root mean square error of f at landmark words that took no part in a fit with this λ.
    """

    words: FloatArray
    projection: FloatArray
    bias: FloatArray
    solver: FloatArray
    temperature: FloatArray
    ridge: FloatArray
    error: FloatArray

    @property
    def dim(self) -> int:
        """F, numbers in a vector."""
        return len(self.solver)

    def features(self, words: Tensor) -> Tensor:
        """φ: (…, F) float32 of words (…, D) float32."""
        hidden = torch.relu(words @ _tensor(self.projection, words).T + _tensor(self.bias, words))
        one = words.new_ones((*words.shape[:-1], 1))
        return torch.cat([words, hidden / len(self.bias) ** 0.5, one], dim=-1)

    def clip_vectors(self, clips: Embedded) -> FloatArray:
        """(A, F) float32."""
        words, solver = _tensor(self.words, clips.tokens), _tensor(self.solver, clips.tokens)
        step = max(1, _BLOCK_ELEMENTS // (clips.tokens.shape[1] * len(self.words)))
        parts = [
            responses(clips.tokens[i : i + step], clips.num_tokens[i : i + step], words, float(self.temperature))
            @ solver.T
            for i in range(0, len(clips.tokens), step)
        ]
        return np.asarray(torch.cat(parts).float().cpu().numpy(), dtype=np.float32)

    def query_vectors(self, texts: Embedded) -> FloatArray:
        """(C, F) float32, mean φ of each text's words."""
        valid = valid_mask(texts.num_tokens, texts.tokens.shape[1])[..., None]
        total = torch.where(valid, self.features(texts.tokens.float()), 0.0).sum(1)
        return np.asarray((total / texts.num_tokens[:, None]).cpu().numpy(), dtype=np.float32)

    def save(self, path: str | Path) -> None:
        """Write one .npz, atomically."""
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **{spec.name: getattr(self, spec.name) for spec in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> Landmarks:
        """Read what `save` wrote.

        Raises:
            ArtefactError: it is missing or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = cls(**{spec.name: np.asarray(stored[spec.name], dtype=np.float32) for spec in fields(cls)})
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ArtefactError(f"{path}: no landmarks can be read there ({error}); export the model again") from error
        size = found.words.shape[1] + len(found.bias) + 1
        if found.solver.shape != (size, len(found.words)) or found.projection.shape != (
            len(found.bias),
            found.words.shape[1],
        ):
            raise ArtefactError(f"{path}: its parts don't fit each other; export the model again")
        return found


def responses(tokens: Tensor, num_tokens: Tensor, words: Tensor, temperature: float) -> Tensor:
    """f: how well each word is answered by each clip, the word half of the score for texts of one word.

    Args:
        tokens: (A, M, D), unit length, zero past num_tokens.
        num_tokens: (A,) int64.
        words: (m, D), unit length.
        temperature: of the soft choice among the signs.

    Returns:
        (A, m) float.
    """
    cosines = tokens @ words.T
    blocked = ~valid_mask(num_tokens, tokens.shape[1])[..., None]
    weights = (cosines / temperature).masked_fill(blocked, -torch.inf).softmax(dim=1)
    return (cosines * weights).sum(dim=1)


def fit(
    words: Tensor,
    clips: Embedded,
    *,
    num_landmarks: int = 4096,
    num_features: int = 1024,
    temperature: float = INNER_TEMPERATURE,
    seed: int = 0,
) -> Landmarks:
    """Choose landmarks and solve for their ridge, whose strength is what foretells held-out landmarks best.

    Args:
        words: (n, D) float32, word tokens of captions, unit length; more than a few thousand are sampled.
        clips: some clips of the same model, on which the strength of the ridge is chosen.
        num_landmarks: m at most.
        num_features: h.
        temperature: of the fine-grained score.
        seed: of every draw.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(words))[:num_landmarks]
    chosen = words[torch.from_numpy(order)].double().cpu()
    dim = chosen.shape[1]
    projection, bias = rng.normal(size=(num_features, dim)), rng.normal(size=num_features)
    words_, projection_, bias_ = (np.asarray(part, dtype=np.float32) for part in (chosen, projection, bias))
    # Its features are all that is used of this one.
    draft = Landmarks(words_, projection_, bias_, np.zeros((1, 1), np.float32), *map(np.float32, (temperature, 0, 0)))
    phi = draft.features(chosen.float()).double()
    targets = responses(clips.tokens.cpu().double(), clips.num_tokens.cpu(), chosen, temperature).T  # (m, A)
    num_held = max(1, int(_HELD_OUT * len(chosen)))
    ridge, error = _best_ridge(phi[num_held:], targets[num_held:], phi[:num_held], targets[:num_held])
    solver = torch.linalg.solve(phi.T @ phi + ridge * torch.eye(phi.shape[1], dtype=phi.dtype), phi.T)
    return Landmarks(
        draft.words, draft.projection, draft.bias, solver.float().numpy(), draft.temperature,
        np.float32(ridge), np.float32(error),
    )  # fmt: skip


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


def _tensor(values: FloatArray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, like.dtype)
