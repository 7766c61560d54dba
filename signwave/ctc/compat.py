"""`CTCBeamDecoder` as the ctcdecode package had it, on this package's beam search: a script changes its import only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from signwave.ctc.beam import BeamOptions, beam_search
from signwave.ctc.fusion import Fusion, TokenFusion, WordFusion
from signwave.ctc.hypothesis import align_all
from signwave.ctc.lm import END, START, UNKNOWN, NgramLm


class BeamResults(NamedTuple):
    """What `CTCBeamDecoder.decode` returns; unpacks like ctcdecode's tuple. M is the beam width.

    Attributes:
        beam_results: (B, M, T) int32, label indices of each beam, best first; 0 past out_lens.
        beam_scores: (B, M) float32, negative log probability, lower is better; inf where there is no such beam.
        timesteps: (B, M, T) int32, the step at which each label is most probable; 0 past out_lens.
        out_lens: (B, M) int32, labels per beam.
    """

    beam_results: Tensor
    beam_scores: Tensor
    timesteps: Tensor
    out_lens: Tensor


class CTCBeamDecoder:
    """ctcdecode's decoder, same arguments and results.

    Differences: a word model allows unknown words at a high price instead of forbidding them, and runs are
    deterministic. `num_processes` is accepted and has no effect.
    """

    def __init__(
        self,
        labels: Sequence[str],
        model_path: str | Path | None = None,
        alpha: float = 0,
        beta: float = 0,
        cutoff_top_n: int = 40,
        cutoff_prob: float = 1.0,
        beam_width: int = 100,
        num_processes: int = 4,
        blank_id: int = 0,
        log_probs_input: bool = False,
    ) -> None:
        """Build the decoder.

        Args:
            labels: the text of each output of the model, the blank's included.
            model_path: an ARPA file. A model whose words are all single characters scores labels, any other scores
                the words between " " labels.
            alpha: weight of the language model.
            beta: bonus per label or word that the language model scores.
            cutoff_top_n: labels tried per step.
            cutoff_prob: labels are tried until their probabilities sum to this.
            beam_width: beams kept, and returned.
            num_processes: ignored.
            blank_id: index of the blank in labels.
            log_probs_input: the input holds natural logs, not probabilities.
        """
        if not 0 <= blank_id < len(labels):
            raise ValueError(f"blank_id is {blank_id}; allowed are 0 to {len(labels) - 1}, the indices of labels")
        self._log_probs_input = log_probs_input
        self._beam_width = beam_width
        # The search has its blank at 0: one permutation there and back.
        self._order = [blank_id, *(index for index in range(len(labels)) if index != blank_id)]
        self._options = BeamOptions(
            beam_width=beam_width,
            top_tokens=cutoff_top_n,
            top_probability=cutoff_prob,
            num_best=beam_width,
            spans=False,
        )
        self._fusion = _fusion([labels[index] for index in self._order], model_path, alpha, beta)

    def decode(self, probs: Tensor, seq_lens: Tensor | None = None) -> BeamResults:
        """Decode a batch.

        Args:
            probs: (B, T, V) float, probabilities, or natural logs if log_probs_input.
            seq_lens: (B,) int, steps per item; all T by default.
        """
        if probs.ndim != 3 or probs.shape[2] != len(self._order):
            raise ValueError(f"probs must be (B, T, {len(self._order)}), got {tuple(probs.shape)}")
        log_probs = (probs.float() if self._log_probs_input else probs.float().log())[:, :, self._order].cpu()
        num_items, num_steps, _ = probs.shape
        lengths = torch.full((num_items,), num_steps) if seq_lens is None else seq_lens.detach().cpu().to(torch.int64)
        found = beam_search(log_probs, lengths, options=self._options, fusion=self._fusion)
        results = BeamResults(
            torch.zeros((num_items, self._beam_width, num_steps), dtype=torch.int32),
            torch.full((num_items, self._beam_width), math.inf),
            torch.zeros((num_items, self._beam_width, num_steps), dtype=torch.int32),
            torch.zeros((num_items, self._beam_width), dtype=torch.int32),
        )
        aligned = align_all(found, log_probs, lengths.tolist())
        for item, (hypotheses, alignments) in enumerate(zip(found, aligned, strict=True)):
            for rank, (one, alignment) in enumerate(zip(hypotheses, alignments, strict=True)):
                size = len(one.tokens)
                original = [self._order[token] for token in one.tokens]
                results.beam_results[item, rank, :size] = torch.tensor(original, dtype=torch.int32)
                results.beam_scores[item, rank] = -one.score
                results.out_lens[item, rank] = size
                if alignment is not None:
                    results.timesteps[item, rank, :size] = torch.tensor(alignment.peaks, dtype=torch.int32)
        return results


def _fusion(tokens: list[str], model_path: str | Path | None, alpha: float, beta: float) -> Fusion | None:
    if model_path is None:
        return None
    lm = NgramLm.from_arpa(model_path)
    of_characters = all(len(word) == 1 for word in lm.words if word not in (START, END, UNKNOWN))
    if of_characters or " " not in tokens:
        return TokenFusion(lm, tokens, weight=alpha, length_bonus=beta)
    return WordFusion(lm, tokens, boundary=tokens.index(" "), weight=alpha, length_bonus=beta)
