"""Labels beyond a model's vocabulary: a wildcard for signs that nobody can name, mixtures for those of two minds.

Each is a column computed from the real ones, after which the ordinary CTC kernel runs. Wildcards are those of Star
Temporal Classification (Pratap et al., NeurIPS 2022) and W-CTC (Cai et al., ICLR 2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from signwave.ctc.loss import _FLOOR, CtcLoss, Reduction, _reduce, ctc_loss
from signwave.errors import LabelError
from signwave.text import Vocabulary

Spec: TypeAlias = 'Literal["any", "sign"] | Mapping[str, float]'
"""What an extra token stands for.

sign: a run of steps of any token but the blank, less the penalty: something is signed there. The star of the paper.
any: a run of steps whatever they hold, the blank included. A step costs the penalty and nothing else; but as one step
    is enough, the others beside it are learnt as blanks.
{token: weight}: one of these tokens; the weights are brought to a sum of 1.
"""
STAR_PENALTY = 0.1
"""Nats a step. At 0 a wildcard swallows the rest around it as well; at 0.5, as for the alignment of a trained model,
blanks are so much cheaper that what the wildcard should cover is learnt as a blank."""
_IMPOSSIBLE = -math.inf


class ExtraTokens(nn.Module):
    """Tokens with ids from V on, where V is the size of the vocabulary.

    Two wildcards side by side need a blank between them, as any two equal labels do: write one for each sign, or one
    "any" for all of them. A mixture and a label that share a token are different labels, which need none.

    >>> extra = ExtraTokens(Vocabulary(("<blank>", "A", "B")), {"*": "any", "~X": {"A": 3, "B": 1}})
    >>> extra.encode("A * ~X")
    [1, 3, 4]

    Args:
        vocabulary: of the model.
        specs: name → what it stands for; names must not be tokens of the vocabulary.
        star_penalty: nats that each step of a wildcard costs.

    Raises:
        LabelError: a mixture names a token that the vocabulary lacks, or has no weight above 0.
    """

    _places: Tensor
    _log_weights: Tensor

    def __init__(
        self, vocabulary: Vocabulary, specs: Mapping[str, Spec], *, star_penalty: float = STAR_PENALTY
    ) -> None:
        super().__init__()
        if star_penalty < 0:
            raise ValueError(f"star_penalty must be at least 0, got {star_penalty}")
        taken = [name for name in specs if name in vocabulary.tokens]
        if taken:
            raise ValueError(f"'{taken[0]}' is a token of the vocabulary and can't be an extra one")
        self.vocabulary = vocabulary
        self.star_penalty = star_penalty
        self.names = tuple(specs)
        self._kinds = tuple("mixture" if isinstance(spec, Mapping) else spec for spec in specs.values())
        unknown = [kind for kind in self._kinds if kind not in ("any", "sign", "mixture")]
        if unknown:
            raise ValueError(f"an extra token is 'any', 'sign' or a mixture, got {unknown[0]!r}")
        mixtures = [_mixture(name, spec, vocabulary) for name, spec in specs.items() if isinstance(spec, Mapping)]
        width = max((len(mixture) for mixture in mixtures), default=0)
        padded = [[*mixture, *[(1, _IMPOSSIBLE)] * (width - len(mixture))] for mixture in mixtures]
        shape = (len(padded), width, 2)
        table = torch.tensor(padded, dtype=torch.float64).reshape(shape)
        # Kept out of state dicts: they come from the data, not from training.
        self.register_buffer("_places", table[..., 0].long(), persistent=False)
        self.register_buffer("_log_weights", table[..., 1].float(), persistent=False)

    @property
    def size(self) -> int:
        """How many there are, K."""
        return len(self.names)

    @property
    def vocab_size(self) -> int:
        """V + K: labels lie in [1, V + K)."""
        return self.vocabulary.size + self.size

    def encode(self, text: str) -> list[int]:
        """Ids of a text of tokens, extra ones among them.

        Raises:
            LabelError: a token is in neither.
        """
        extra = {name: self.vocabulary.size + place for place, name in enumerate(self.names)}
        return [extra[token] if token in extra else self.vocabulary.encode(token)[0] for token in text.split()]

    def unknown(self, text: str) -> list[str]:
        """The tokens of a text that have no id, in order."""
        return [token for token in self.vocabulary.unknown(text) if token not in self.names]

    def extend(self, log_probs: Tensor) -> Tensor:
        """Append the columns of the extra tokens; a row then sums to more than one.

        Args:
            log_probs: (B, T, V) float, natural log.

        Returns:
            (B, T, V + K) float32.
        """
        scores = log_probs.float()
        columns = []
        mixtures = self._mix(scores) if len(self._places) else None
        place = 0
        for kind in self._kinds:
            if kind == "mixture" and mixtures is not None:
                columns.append(mixtures[..., place])
                place += 1
            elif kind == "any":
                columns.append(torch.full_like(scores[..., 0], -self.star_penalty))
            else:
                columns.append(scores[..., 1:].logsumexp(-1) - self.star_penalty)
        return torch.cat([scores, torch.stack(columns, dim=-1)], dim=-1) if columns else scores

    def loss(
        self,
        log_probs: Tensor,
        num_steps: Tensor,
        labels: Tensor,
        num_labels: Tensor,
        *,
        ids: Sequence[str] | None = None,
        reduction: Reduction = "mean_per_item",
    ) -> CtcLoss:
        """CTC loss of labels with extra tokens; an item's may be below 0 where a wildcard counts paths twice.

        torch's gradient is only right for scores that sum to one. So the loss is taken of the normalised scores, and
        the normalisers, one per step and the same for every path, are taken out of it again.

        Args:
            log_probs: (B, T, V) float, natural log; anything past num_steps.
            num_steps: (B,) int64.
            labels: (B, N) int64 in [1, V + K); anything past num_labels.
            num_labels: (B,) int64.
            ids: names of the items for error messages.
            reduction: as for `signwave.ctc.ctc_loss`.
        """
        num_steps = num_steps.to(log_probs.device)
        inside = torch.arange(log_probs.shape[1], device=log_probs.device) < num_steps[:, None]
        # Padding is log 1 = 0, so that neither its value nor its gradient counts, whatever stood there.
        scores = self.extend(torch.where(inside[..., None], log_probs.float().clamp(min=_FLOOR), 0.0))
        norms = scores.logsumexp(-1)
        plain = ctc_loss(scores - norms[..., None], num_steps, labels, num_labels, ids=ids, reduction=reduction)
        per_item = torch.where(plain.skipped, plain.per_item, plain.per_item - (norms * inside).sum(1))
        counts = num_labels.to(log_probs.device)
        loss = _reduce(per_item, counts, ~plain.skipped, reduction)
        return CtcLoss(loss, per_item, plain.num_skipped, plain.skipped)

    def _mix(self, scores: Tensor) -> Tensor:
        """(B, T, K') float32, log of the weighed sums. scores: (B, T, V) float32."""
        picked = scores[..., self._places] + self._log_weights
        return picked.logsumexp(-1)


def _mixture(name: str, spec: Mapping[str, float], vocabulary: Vocabulary) -> list[tuple[float, float]]:
    """Ids and log weights of a mixture."""
    weights = {token: float(weight) for token, weight in spec.items() if weight > 0}
    unknown = [token for token in weights if vocabulary.unknown(token)]
    if unknown:
        raise LabelError(f"'{name}' stands for '{unknown[0]}', which is not among the tokens of the vocabulary")
    total = sum(weights.values())
    if not weights or not math.isfinite(total):
        raise LabelError(f"'{name}' stands for nothing: its weights are {dict(spec)}; one must be above 0")
    return [(cast(float, vocabulary.encode(token)[0]), math.log(w / total)) for token, w in weights.items()]
