"""An output layer in closed form: one pass of sums over labelled states, then one linear system.

States of a class are taken as normal with a covariance that all classes share; the posterior of a class is then a
softmax over affine scores (linear discriminant analysis), which is what an output layer computes.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST_SHARE = 1e-6
_NEVER = -30.0
"""Bias of a token that no state was labelled with."""


class ClassStatistics:
    """Sums over states by class; those of two parts of a corpus add up.

    Args:
        num_classes: V.
        width: D.
        device: where the sums lie.
    """

    def __init__(self, num_classes: int, width: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self.sums = torch.zeros((num_classes, width), dtype=torch.float64, device=device)
        self.products = torch.zeros((width, width), dtype=torch.float64, device=device)

    def add(self, states: Tensor, labels: Tensor) -> None:
        """Count in some states.

        Args:
            states: (N, D) float.
            labels: (N,) int64 in [0, V).
        """
        states = states.double()
        self.counts += torch.bincount(labels, minlength=len(self.counts))
        self.sums.index_add_(0, labels, states)
        self.products += states.T @ states

    def solve(self, *, shrinkage: float = 0.1) -> tuple[Tensor, Tensor]:
        """The output layer: weight (V, D) float32 and bias (V,) float32, whose softmax is each class' posterior.

        Args:
            shrinkage: this share of the variances is added to the diagonal of the covariance: with less data than
                D² it can't be inverted well.

        Raises:
            ValueError: nothing was added.
        """
        total = self.counts.sum()
        if not bool(total > 0):
            raise ValueError("no states were added")
        means = self.sums / self.counts.clamp(min=1)[:, None]
        covariance = (self.products - (means * self.counts[:, None]).T @ means) / total
        variances = covariance.diagonal().clamp(min=0)
        ridge = shrinkage * variances + 1e-6 * variances.mean().clamp(min=1e-12)
        factor = torch.linalg.cholesky(covariance + torch.diag(ridge))
        weight = torch.cholesky_solve(means.T, factor).T
        bias = -0.5 * (weight * means).sum(1) + (self.counts / total).clamp(min=_LEAST_SHARE).log()
        bias = bias.masked_fill(self.counts == 0, _NEVER)
        return weight.float(), bias.float()
