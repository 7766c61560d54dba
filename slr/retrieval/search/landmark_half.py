"""One half of the fine-grained score as an inner product of two vectors, in closed form.

In either half each token t of one item chooses softly among the tokens of another, and the half is the mean of what
they get, f(t). The function f of the other item is read off at landmark tokens t*_1 … t*_m and described by a ridge
regression on features φ(t) = [t, ReLU(A t - b) / √h, 1], where the rows of A are tokens too:

    u = P y,  y_l = f(t*_l),  P = (ΦᵀΦ + λ I)⁻¹ Φᵀ,  and the half is about q · u with q = mean φ(t).

Coefficients u are large and cancel each other, so that no compressed index could search them. So both sides move to
coordinates in which they have the same scale, ordered by how much they add to q · u; the last ones can be left out.
Random ReLU features: Rahimi and Recht, "Weighted sums of random kitchen sinks", NeurIPS 2008.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slr.models.dual_encoder import Embedded, valid_mask
from slr.retrieval.similarity import SAFE_TEMPERATURE

FloatArray = NDArray[np.float32]
_Matrix = NDArray[np.float64]

_BLOCK_ELEMENTS = 1 << 18  # landmark x token products: 1 MB, which stays in a core's cache
_RIDGES = 10.0 ** np.arange(-6, 2.5, 0.5)
_RIDGE_ITEMS = 256  # that decide on the strength of a ridge
_STEPS = (0.0, 0.6)  # cosines between which ramps begin
_UNSEEN = 1e-3  # what a direction counts that no item has, as a share of the mean


@dataclass(frozen=True, eq=False)
class Half:
    """The landmarks of one half: words, which clips answer, or signs, which texts answer.

    Attributes:
        landmarks: (m, D) float32, unit length.
        projection: (h, D) float32, A.
        bias: (h,) float32, -b.
        directions: (D + h + 1, F) float32, from features to coordinates.
        solver: (m, F) float32, from answers to coordinates.
        weights: (F,) float32, falling, how much each coordinate adds.
        temperature: () float32, of the fine-grained score.
        ridge: () float32, λ.
        error: () float32, root mean square error of f at landmarks that took no part in a fit with this λ.
    """

    landmarks: FloatArray
    projection: FloatArray
    bias: FloatArray
    directions: FloatArray
    solver: FloatArray
    weights: FloatArray
    temperature: FloatArray
    ridge: FloatArray
    error: FloatArray

    def asking(self, items: Embedded) -> Tensor:
        """(B, F) float32, q of items whose tokens choose."""
        tokens, size = items.tokens.float(), len(self.directions)
        parts = [_tensor(part, tokens) for part in (self.projection, self.bias)]
        found = tokens.new_empty(len(tokens), size)
        for rows, flat in _of_one_length(tokens, items.num_tokens, numbers_each=size):
            found[rows] = features(flat, *parts).view(len(rows), -1, size).mean(dim=1)
        return found @ _tensor(self.directions, tokens)

    def answering(self, items: Embedded) -> Tensor:
        """(B, F) float32, u of items whose tokens are chosen from."""
        tokens = items.tokens.float()
        given = responses(tokens, items.num_tokens, _tensor(self.landmarks, tokens), float(self.temperature))
        return given @ _tensor(self.solver, tokens)

    def shortened(self, size: int) -> Half:
        """The same with the first coordinates only."""
        first = {name: getattr(self, name)[..., :size].copy() for name in ("directions", "solver", "weights")}
        return replace(self, **first)

    def is_whole(self) -> bool:
        """Whether its parts fit each other."""
        (count, dim), num_features, size = self.landmarks.shape, len(self.bias), len(self.weights)
        found = (self.projection.shape, self.directions.shape, self.solver.shape)
        return found == ((num_features, dim), (dim + num_features + 1, size), (count, size))


class Solved(NamedTuple):
    """P (D + h + 1, m) float64, its λ, and the error at landmarks that were left out."""

    solver: _Matrix
    ridge: float
    error: float


def fit_half(
    asking: Embedded, answering: Embedded, *, num_landmarks: int, num_features: int, temperature: float, seed: int
) -> Half:
    """Choose landmarks out of the tokens that choose, solve for the ridge, and find coordinates.

    Args:
        asking: items whose tokens choose; on the CPU, as the others.
        answering: items whose tokens are chosen from; some hundred tell well which coordinates matter.
        num_landmarks: m at most.
        num_features: h at most.
        temperature: of the fine-grained score.
        seed: of every draw.
    """
    rng = np.random.default_rng(seed)
    tokens = asking.tokens[valid_mask(asking.num_tokens, asking.tokens.shape[1])].float()
    order = torch.from_numpy(rng.permutation(len(tokens)))
    # Ramps that rise towards tokens of the model err less than as many in random directions.
    projection, chosen = tokens[order[:num_features]], tokens[order[-num_landmarks:]]
    bias = torch.from_numpy(-rng.uniform(*_STEPS, len(projection))).float()
    phi = np.asarray(features(chosen, projection, bias).double().numpy())
    given = responses(answering.tokens.float(), answering.num_tokens, chosen, temperature).double().numpy()
    solved = solve(phi, given[:_RIDGE_ITEMS].T)
    directions, back, weights = _coordinates(phi, given @ solved.solver.T)
    parts = (chosen, projection, bias, directions, solved.solver.T @ back, weights)
    numbers = (temperature, solved.ridge, solved.error)
    return Half(*(np.asarray(part, dtype=np.float32, order="C") for part in (*parts, *numbers)))


def solve(phi: _Matrix, targets: _Matrix) -> Solved:
    """Ridge regression with the strength that foretells a left-out landmark best.

    All errors come from one decomposition: a residual grows by 1 / (1 - leverage) where its landmark is left out.

    Args:
        phi: (m, D + h + 1) float64.
        targets: (m, B) float64, answers of some items.
    """
    left, values, right = np.linalg.svd(phi, full_matrices=False)
    turned = left.T @ targets
    errors = {}
    for ridge in _RIDGES:
        kept = values**2 / (values**2 + ridge)
        missed = (targets - left @ (kept[:, None] * turned)) / (1 - left**2 @ kept)[:, None]
        errors[float(ridge)] = float(np.sqrt((missed**2).mean()))
    best = min(errors, key=errors.__getitem__)
    return Solved((right.T * (values / (values**2 + best))) @ left.T, best, errors[best])


def _coordinates(phi: _Matrix, coefficients: _Matrix) -> tuple[_Matrix, _Matrix, _Matrix]:
    """Maps of features and of coefficients whose products are the same as before, and the weights of coordinates.

    With the second moments R Rᵀ of features and S Sᵀ of coefficients, the singular values of Rᵀ S are what each
    coordinate adds to a typical product; leaving out the smallest is the least that so many can lose.
    """
    asked, answered = _root(phi), _root(coefficients)
    left, weights, right = np.linalg.svd(asked.T @ answered)
    return answered @ right.T * weights**-0.5, asked @ left * weights**-0.5, weights


def _root(rows: _Matrix) -> _Matrix:
    """A triangle whose product with its transpose is the second moment of rows (n, F)."""
    moment = rows.T @ rows / len(rows)
    return np.linalg.cholesky(moment + _UNSEEN * np.trace(moment) / len(moment) * np.eye(len(moment)))


def responses(tokens: Tensor, num_tokens: Tensor, landmarks: Tensor, temperature: float) -> Tensor:
    """f: how well each landmark is answered by each item, its half of the score for an item of that one token.

    Args:
        tokens: (B, N, D), unit length; those past num_tokens are not looked at.
        num_tokens: (B,) int64.
        landmarks: (m, D), unit length.
        temperature: of the soft choice among the tokens.

    Returns:
        (B, m) float.
    """
    found = tokens.new_empty(len(tokens), len(landmarks))
    across = landmarks.T.contiguous()
    for rows, flat in _of_one_length(tokens, num_tokens, numbers_each=len(landmarks)):
        cosines = (flat @ across).view(len(rows), -1, len(landmarks))
        top = 1.0 if temperature >= SAFE_TEMPERATURE else cosines.amax(dim=1, keepdim=True)
        weights = cosines.sub(top).div_(temperature).exp_()
        total = weights.sum(dim=1)
        found[rows] = weights.mul_(cosines).sum(dim=1).div_(total)
    return found


def _of_one_length(tokens: Tensor, num_tokens: Tensor, *, numbers_each: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Some rows at a time that have equally many tokens, and these (n, D).

    They need neither mask nor padding, and blocks that stay in the cache are 16 times as fast as large ones.

    Args:
        tokens: (B, N, D).
        num_tokens: (B,) int64, at least 1.
        numbers_each: what will be computed for each token.
    """
    for length in torch.unique(num_tokens).tolist():
        alike = torch.nonzero(num_tokens == length)[:, 0]
        for rows in torch.split(alike, max(1, _BLOCK_ELEMENTS // (length * numbers_each))):
            yield rows, tokens[rows, :length].flatten(0, 1)


def features(tokens: Tensor, projection: Tensor, bias: Tensor) -> Tensor:
    """φ: (…, D + h + 1) of tokens (…, D)."""
    hidden = torch.relu(tokens @ projection.T + bias) / len(bias) ** 0.5
    return torch.cat([tokens, hidden, tokens.new_ones((*tokens.shape[:-1], 1))], dim=-1)


def _tensor(values: FloatArray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, like.dtype)
