"""Beam search by torchaudio's CUDA decoder: the fast path on a GPU, without a language model."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from signwave.ctc.hypothesis import Hypothesis, check_log_probs, with_steps
from signwave.errors import UserError


class CudaDecoder:
    """A decoder for one vocabulary size; build it once, call it per batch of CUDA tensors."""

    def __init__(
        self,
        vocab_size: int,
        *,
        beam_width: int = 10,
        num_best: int = 1,
        blank_skip: float | None = 0.95,
        spans: bool = True,
    ) -> None:
        """Build the search.

        Args:
            vocab_size: number of tokens with the blank.
            beam_width: prefixes kept; the kernel allows no more than vocab_size.
            num_best: hypotheses returned per item, at most beam_width.
            blank_skip: steps whose blank is more probable than this count as pure blank; None skips none.
            spans: also align each hypothesis, for its steps and confidences.
        """
        if not torch.cuda.is_available():
            raise UserError(
                "the CUDA decoder needs a CUDA GPU, and torch sees none; use the method 'beam' or 'flashlight'"
            )
        from torchaudio.models.decoder import cuda_ctc_decoder

        self._vocab_size = vocab_size
        self._num_best = min(num_best, beam_width, vocab_size)
        self._spans = spans
        self._decoder: Any = cuda_ctc_decoder(
            tokens=[str(index) for index in range(vocab_size)],
            nbest=self._num_best,
            beam_size=beam_width,
            blank_skip_threshold=1.0 if blank_skip is None else blank_skip,
        )

    def __call__(self, log_probs: Tensor, num_steps: Tensor) -> list[list[Hypothesis]]:
        """Return the best hypotheses of each item, best first.

        Args:
            log_probs: (B, T, V) float32 on a GPU, natural log, V[0] is the blank; anything past num_steps.
            num_steps: (B,) int64, steps per item.
        """
        lengths = check_log_probs(log_probs, num_steps)
        if not log_probs.is_cuda:
            raise ValueError("the CUDA decoder takes CUDA tensors; move log_probs, or use the method 'beam'")
        if log_probs.shape[2] != self._vocab_size:
            raise ValueError(
                f"log_probs has {log_probs.shape[2]} tokens, this decoder was built for {self._vocab_size}"
            )
        values = log_probs.detach().float()
        filled = [item for item, length in enumerate(lengths) if length]
        found: list[list[Hypothesis]] = [[Hypothesis((), 0.0)] for _ in lengths]  # the kernel wants at least one step
        if filled:
            index = torch.tensor(filled, device=values.device)
            steps = torch.tensor([lengths[item] for item in filled], dtype=torch.int32, device=values.device)
            results = self._decoder(values[index].contiguous(), steps)
            for item, row in zip(filled, results, strict=True):
                found[item] = _hypotheses(row)
        return with_steps(found, values, lengths) if self._spans else found


def _hypotheses(row: Any) -> list[Hypothesis]:
    hypotheses = [Hypothesis(tuple(int(token) for token in one.tokens), float(one.score)) for one in row]
    return [one for one in hypotheses if one.score > -math.inf] or [Hypothesis((), -math.inf)]
