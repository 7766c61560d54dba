"""Three ways to find the target sign that an auxiliary sign looks like.

Posteriors: what the target language's classifier says of the auxiliary signs (Wei and Chen, ICCV 2023). Prototypes:
nearest mean embeddings, corrected for hubs, that choose each other. Transport: the cheapest plan that carries one
dictionary into the other, which may leave signs where they are. None depends on how long embeddings are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Array = NDArray[np.floating[Any]]


class Choice(NamedTuple):
    """What a method says of A auxiliary glosses.

    targets: (A,) int64, place of the target gloss, -1 for none.
    scores: (A, T) float64, larger is more alike.
    """

    targets: NDArray[np.int64]
    scores: FloatArray


def class_means(values: Array, labels: NDArray[np.int64], num_classes: int) -> FloatArray:
    """(C, D) float64, mean of the rows of each class; NaN rows don't count, a class without any is NaN.

    values: (N, D) float; labels: (N,) int64 in [0, C), -1 for rows of no class.
    """
    means = np.full((num_classes, values.shape[1]), np.nan)
    for label, places in enumerate(_places(values, labels, num_classes)):
        if len(places):
            means[label] = values[places].mean(0, dtype=np.float64)
    return means


def _places(values: Array, labels: NDArray[np.int64], num_classes: int) -> list[NDArray[np.int64]]:
    """Rows of each class, those with NaN left out."""
    usable = np.flatnonzero(np.isfinite(values).all(1) & (labels >= 0))
    order = usable[np.argsort(labels[usable], kind="stable")]
    return np.split(order, np.searchsorted(labels[order], np.arange(1, num_classes)))


def by_posterior(means: FloatArray) -> Choice:
    """The target gloss of the highest mean posterior, none where the blank's is as high.

    means: (A, 1 + T) float64, mean posteriors of the target classifier, the blank first; NaN rows choose nothing.
    """
    clean = np.nan_to_num(means, nan=0.0)
    scores = clean[:, 1:]
    best = scores.argmax(1)
    chosen = scores[np.arange(len(scores)), best] > clean[:, 0]
    return Choice(np.where(chosen, best, -1), scores)


def csls(auxiliary: FloatArray, target: FloatArray, *, num_neighbours: int = 5) -> FloatArray:
    """(A, T) float64, cosines less the mean cosine of either side to its nearest neighbours on the other.

    A sign that is near to everything (a hub) is so no longer. Reference: Conneau et al., "Word Translation Without
    Parallel Data", ICLR 2018, equation 3.

    auxiliary: (A, D), target: (T, D) float64 of unit length.
    """
    cosines = auxiliary @ target.T

    def nearest(rows: FloatArray) -> FloatArray:
        size = min(num_neighbours, rows.shape[1])
        return np.asarray(np.sort(rows, axis=1)[:, -size:].mean(1))

    return np.asarray(2 * cosines - nearest(cosines)[:, None] - nearest(cosines.T)[None, :])


def by_prototype(scores: FloatArray) -> Choice:
    """Pairs that are each other's best. scores: (A, T) float64, of `csls`; -inf where a sign wasn't seen."""
    forward, backward = scores.argmax(1), scores.argmax(0)
    mutual = (backward[forward] == np.arange(len(scores))) & np.isfinite(scores.max(1))
    return Choice(np.where(mutual, forward, -1), scores)


def unbalanced_transport(
    costs: FloatArray,
    auxiliary_mass: FloatArray,
    target_mass: FloatArray,
    *,
    entropy: float = 0.05,
    relaxation: float = 0.3,
    num_iterations: int = 2000,
    tolerance: float = 1e-9,
) -> FloatArray:
    """(A, T) float64, the plan P that minimises <P, C> + entropy KL(P | a bᵀ) + relaxation (KL(P1 | a) + KL(Pᵀ1 | b)).

    Mass that is dear to carry is left where it is: of two signs of mass 1 that have only each other,
    exp(-cost / (2 relaxation + entropy)) is carried. Sinkhorn's iterations in the log domain (Chizat et al., "Scaling
    algorithms for unbalanced optimal transport problems", Math. Comp. 2018, algorithm 2).

    Args:
        costs: (A, T) float64.
        auxiliary_mass: (A,) float64, a, above 0.
        target_mass: (T,) float64, b, above 0.
        entropy: how far the plan may spread.
        relaxation: cost of mass that isn't carried.
        num_iterations: at most.
        tolerance: largest change of a potential at which it stops.
    """
    log_a, log_b = np.log(auxiliary_mass), np.log(target_mass)
    f, g = np.zeros(len(log_a)), np.zeros(len(log_b))
    damping = relaxation / (relaxation + entropy)
    for _ in range(num_iterations):
        before = f, g
        f = -damping * entropy * _log_sum((g[None, :] - costs) / entropy + log_b[None, :], axis=1)
        g = -damping * entropy * _log_sum((f[:, None] - costs) / entropy + log_a[:, None], axis=0)
        if max(np.abs(f - before[0]).max(), np.abs(g - before[1]).max()) < tolerance:
            break
    return np.asarray(np.exp((f[:, None] + g[None, :] - costs) / entropy + log_a[:, None] + log_b[None, :]))


def by_transport(costs: FloatArray, *, least: float = 0.75) -> Choice:
    """The target that most of a gloss is carried to, none where that is less than `least` of it.

    Every gloss of either language has a mass of 1, however many signs it has and however many glosses there are: what
    is frequent in one corpus needn't be in the other, and with masses by frequency a rare target couldn't hold a
    frequent source. So a share says the same of every gloss. With the default, two that have only each other are
    joined if their cosine is above 0.81, and two sources that fit one target alike are not: either has 0.73 at most.

    Args:
        costs: (A, T) float64, one less the cosine.
        least: share of a gloss in [0, 1].
    """
    shares = unbalanced_transport(costs, np.ones(costs.shape[0]), np.ones(costs.shape[1]))
    return Choice(np.where(shares.max(1) >= least, shares.argmax(1), -1), shares)


def unit_rows(values: FloatArray) -> FloatArray:
    """Rows of unit length, about their common mean: what all signs of a language share says nothing about one.

    values: (C, D) float64; a row that is the mean stays 0.
    """
    centred = values - values.mean(0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(lengths > 0, lengths, 1))


def gaps(auxiliary: FloatArray, target: FloatArray) -> FloatArray:
    """(A, T) float64, distance of each pair over that of neighbouring signs of one language.

    Near 0 the two are in one place; at 1 they are no nearer than signs that a language tells apart. A classifier must
    name something, however far away; this says how far. The yardstick is the median distance of a sign to the nearest
    other one of its language, of the language where that is smaller: a sign's own nearest is none, as languages have
    pairs that differ in a movement alone.

    auxiliary: (A, D), target: (T, D) float64, at least two of each.
    """
    nearest = []
    for rows in (auxiliary, target):
        own = _distances(rows, rows)
        np.fill_diagonal(own, np.inf)
        nearest.append(float(np.median(own.min(1))))
    return np.asarray(_distances(auxiliary, target) / max(min(nearest), 1e-12))


def _distances(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(one[:, None] - other[None, :], axis=2))


def split_half(
    posteriors: Array,
    labels: NDArray[np.int64],
    origins: Sequence[str],
    num_classes: int,
    *,
    num_halvings: int = 20,
    seed: int = 0,
) -> FloatArray:
    """(A,) float64 in [0, 1], how often two halves of a gloss's signs name the same target; NaN for a single sign.

    Halves are of whole clips, so that signs of one clip don't agree with themselves; only where a gloss has all its
    signs in one clip that clip is halved. What a gloss gets depends on its own signs alone.

    Args:
        posteriors: (N, 1 + T) float, of the target classifier; NaN rows don't count.
        labels: (N,) int64, gloss of each sign in [0, A), -1 for rows of no gloss.
        origins: clip of each.
        num_classes: A.
        num_halvings: random halvings.
        seed: of them.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(origins))}
    origin = np.asarray([names[name] for name in origins], dtype=np.int64)
    found = np.full(num_classes, np.nan)
    for label, places in enumerate(_places(posteriors, labels, num_classes)):
        if len(places) < 2:
            continue
        units = np.unique(origin[places], return_inverse=True)[1]
        if units.max() == 0:
            units = np.arange(len(places))
        first = halvings(int(units.max()) + 1, num_halvings, seed=seed)[:, units]
        rows = posteriors[places].astype(np.float64)
        one, other = (by_posterior(half @ rows / half.sum(1, keepdims=True)) for half in (first * 1.0, ~first * 1.0))
        found[label] = (one.targets == other.targets).mean()
    return found


def halvings(num_units: int, num_halvings: int, *, seed: int) -> NDArray[np.bool_]:
    """(H, U) bool, units of the first half, which has one more where they can't be halved.

    Args:
        num_units: U, at least 2.
        num_halvings: H.
        seed: of the choice.
    """
    order = np.random.default_rng(seed).random((num_halvings, num_units)).argsort(1).argsort(1)
    return np.asarray(order < (num_units + 1) // 2)


def _log_sum(values: FloatArray, *, axis: int) -> FloatArray:
    top = values.max(axis=axis, keepdims=True)
    return np.asarray(np.squeeze(top, axis) + np.log(np.exp(values - top).sum(axis=axis)))
