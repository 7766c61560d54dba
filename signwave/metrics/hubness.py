"""Hubs, gallery items that too many queries find, and ways to score them down.

QB-Norm (Bogolin et al., CVPR 2022) and CSLS (Conneau et al., ICLR 2018) look at the query itself and at a *bank* of
other queries, of the training set, say: they are inductive, and a system in use can do the same. The functions whose
names begin with `transductive_` look at all test queries at once: their figures are no figures of a system that answers
one query at a time, and belong in a column of their own.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_ELEMENTS = 1 << 21  # scores looked at together: 16 MB of float64

FloatMatrix = NDArray[np.floating[Any]]


def k_occurrence(scores: FloatMatrix, k: int = 10) -> NDArray[np.float64]:
    """How many queries have each gallery item among their first k (N_k of Radovanović et al., JMLR 2010).

    Args:
        scores: (Q, G) float, higher is better; -inf is allowed, NaN is not.
        k: length of the lists, at most G.

    Returns:
        (G,) float64 that sums to Q·k; items tied at the end of a list share its last places evenly.
    """
    _check(scores)
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be between 1 and the {scores.shape[1]} items of the gallery, got {k}")
    last = _best(scores, k).min(axis=1, keepdims=True)
    above, tied = scores > last, scores == last
    share = (k - above.sum(axis=1)) / tied.sum(axis=1)
    found: NDArray[np.float64] = (above + tied * share[:, None]).sum(axis=0)
    return found


def hub_skewness(scores: FloatMatrix, k: int = 10) -> float:
    """Skewness of the k-occurrence: 0 when every item is found alike, above 1 when a few hubs fill the lists.

    Args: see `k_occurrence`.
    """
    found = k_occurrence(scores, k)
    deviation = found - found.mean()
    # Shared places are fractions, so equal items may differ in the last bit.
    spread = float(np.sqrt((deviation**2).mean()))
    return float((deviation**3).mean() / spread**3) if spread > 1e-9 * max(1.0, float(found.mean())) else 0.0


def qb_norm(
    scores: FloatMatrix, bank: FloatMatrix, *, inverse_temperature: float = 20.0, k: int = 1, dynamic: bool = True
) -> NDArray[np.float64]:
    """Querybank normalisation: each score is divided by what the bank's queries give to the item, in the exponent.

    Args:
        scores: (Q, G) float, cosines of the queries and the gallery.
        bank: (B, G) float, scores of other queries against the same gallery.
        inverse_temperature: β of the soft-max; 20 in the released code.
        k: items among the first k of a query of the bank are hubs (the activation set); 1 in the paper.
        dynamic: only queries whose first item is a hub are changed (dynamic inverted soft-max, the paper's choice).

    Returns:
        (Q, G) float64 with the order of each row as QB-Norm ranks it; a changed row holds
        β·score − log Σ exp(β·bank), so rows can't be compared with each other.
    """
    _check_bank(scores, bank)
    changed = inverse_temperature * scores.astype(np.float64) - _log_sum_exp(bank, inverse_temperature)
    if not dynamic:
        return changed
    hubs = np.zeros(scores.shape[1], dtype=bool)
    for part in _parts(bank):
        hubs[np.argpartition(np.negative(part), min(k, part.shape[1]) - 1, axis=1)[:, :k]] = True
    return np.where(hubs[scores.argmax(axis=1)][:, None], changed, scores.astype(np.float64))


def csls(scores: FloatMatrix, bank: FloatMatrix, *, k: int = 10) -> NDArray[np.float64]:
    """Cross-domain similarity local scaling: 2·score − mean of the query's k best − mean of the item's k best.

    Args:
        scores: (Q, G) float.
        bank: (B, G) float, scores of other queries against the same gallery; the item's k best are among these.
        k: neighbours; fewer where there are fewer.

    Returns:
        (Q, G) float64.
    """
    _check_bank(scores, bank)
    of_query, of_item = (
        np.concatenate([_best(part, min(k, part.shape[1])).mean(axis=1, dtype=np.float64) for part in _parts(side)])
        for side in (scores, bank.T)
    )
    found: NDArray[np.float64] = 2 * scores.astype(np.float64) - of_query[:, None] - of_item[None, :]
    return found


def transductive_csls(scores: FloatMatrix, *, k: int = 10) -> NDArray[np.float64]:
    """CSLS whose bank are the test queries themselves, as its paper does it. See `csls`."""
    return csls(scores, scores, k=k)


def transductive_dual_softmax(scores: FloatMatrix, *, inverse_temperature: float = 20.0) -> NDArray[np.float64]:
    """Dual soft-max (Cheng et al., 2021): each score times its share among all test queries.

    Args:
        scores: (Q, G) float.
        inverse_temperature: of the soft-max over queries.

    Returns:
        (Q, G) float64.
    """
    _check(scores)
    share = np.exp(inverse_temperature * scores.astype(np.float64) - _log_sum_exp(scores, inverse_temperature))
    found: NDArray[np.float64] = scores.astype(np.float64) * share
    return found


def _log_sum_exp(rows: FloatMatrix, factor: float) -> NDArray[np.float64]:
    """(G,) float64, log Σ exp(factor · row) over the rows."""
    found = np.full(rows.shape[1], -np.inf)
    for part in _parts(rows):
        scaled = factor * part.astype(np.float64)
        top = scaled.max(axis=0)
        found = np.logaddexp(found, top + np.log(np.exp(scaled - top).sum(axis=0)))
    return found


def _parts(matrix: FloatMatrix) -> Iterator[FloatMatrix]:
    """Blocks of rows: a bank may be all captions of a training set, and a copy of it would not fit."""
    step = max(1, _BLOCK_ELEMENTS // matrix.shape[1])
    return (matrix[start : start + step] for start in range(0, len(matrix), step))


def _best(scores: FloatMatrix, k: int) -> FloatMatrix:
    """(rows, k), the k highest of each row, in no order."""
    found: FloatMatrix = -np.partition(np.negative(scores), k - 1, axis=1)[:, :k]
    return found


def _check(scores: FloatMatrix) -> None:
    if scores.ndim != 2 or 0 in scores.shape or np.isnan(scores).any():
        raise ValueError(f"scores must be (queries, gallery) without NaN, got shape {scores.shape}")


def _check_bank(scores: FloatMatrix, bank: FloatMatrix) -> None:
    for matrix in (scores, bank):
        _check(matrix)
        if not np.isfinite(matrix).all():
            raise ValueError("scores to be normalised must be finite; score every pair, not only the candidates")
    if scores.shape[1] != bank.shape[1]:
        raise ValueError(
            f"the bank scores {bank.shape[1]} items and the queries {scores.shape[1]}; score the same ones"
        )
