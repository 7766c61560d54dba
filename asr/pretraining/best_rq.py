"""BEST-RQ: predict the codes that a frozen random projection gives to masked frames of log-mel.

The targets are never learnt, so there is nothing to collapse: no negatives, no Gumbel noise, any batch size.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from asr.features import log_mel
from asr.pretraining.contrastive import Loss
from asr.pretraining.masking import Masked

NUM_MEL_BINS = 80
STACKED = 2
TARGET_WIDTH = STACKED * NUM_MEL_BINS
_CHUNK = 4096  # frames whose distances to all codes are held at once


def target_features(audio: NDArray[np.float32]) -> Tensor:
    """What targets are computed from: log-mel at 10 ms, every bin with zero mean and unit variance, two frames stacked.

    Args:
        audio: (S,) float32, 16 kHz, at least 50 ms.

    Returns:
        (T, 160) float32 at 50 Hz, T = S // 320 or one less; row t lies about sample 320 t + 240, the middle of a
        wav2vec2 step to within 3 ms.
    """
    mel = log_mel(torch.from_numpy(audio), num_mel_bins=NUM_MEL_BINS)[1:]
    mel = (mel - mel.mean(0)) / (mel.std(0, correction=0) + 1e-5)
    return mel[: len(mel) // STACKED * STACKED].reshape(-1, TARGET_WIDTH)


class BestRqObjective(nn.Module):
    """Frozen quantiser and a linear classifier of its codes.

    Args:
        context_width: H of the encoder's states.
        num_codebooks: independent quantisers, whose losses are averaged.
        num_codes: V of each.
        code_width: of the space in which the nearest code is sought.
        seed: of the frozen projections and codes.
    """

    projections: Tensor
    codes: Tensor

    def __init__(
        self, context_width: int, *, num_codebooks: int = 1, num_codes: int = 8192, code_width: int = 16, seed: int = 0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        projections = torch.empty(num_codebooks, TARGET_WIDTH, code_width)
        for projection in projections:
            nn.init.xavier_uniform_(projection, generator=generator)
        codes = torch.randn(num_codebooks, num_codes, code_width, generator=generator)
        self.register_buffer("projections", projections)
        self.register_buffer("codes", F.normalize(codes, dim=-1))
        self.num_codebooks, self.num_codes = num_codebooks, num_codes
        self.head = nn.Linear(context_width, num_codebooks * num_codes)

    @torch.no_grad()
    def targets(self, frames: Tensor) -> Tensor:
        """(N, G) int64, the nearest code of each codebook for (N, 160) float32 frames, by angle."""
        found = []
        for chunk in torch.split(frames.float(), _CHUNK):
            projected = torch.einsum("nd,gdk->gnk", chunk, self.projections)
            found.append(torch.bmm(F.normalize(projected, dim=-1), self.codes.transpose(1, 2)).argmax(-1).T)
        return torch.cat(found)

    def forward(self, context: Tensor, target_frames: Tensor, masked: Masked) -> Loss:
        """Compute the loss of a batch.

        Args:
            context: (B, T, H), states of the encoder over masked input.
            target_frames: (B, T', 160) float32; where a step lies past the last frame it is that one's.
            masked: the masked steps.
        """
        with torch.autocast(context.device.type, enabled=False):
            last = target_frames.shape[1] - 1
            frames = masked._replace(positions=masked.positions.clamp(max=last)).take(target_frames)
            valid = masked.valid
            targets = self.targets(frames[valid])  # (N, G)
            logits = self.head(masked.take(context)[valid].float()).view(-1, self.num_codebooks, self.num_codes)
            losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(1)
            by_frame = torch.zeros(valid.shape, device=losses.device).masked_scatter(valid, losses)
            by_clip = by_frame.sum(1)
        with torch.no_grad():
            best = logits.argmax(-1)
            num_correct = (best == targets).all(1).sum()
            ones = torch.ones(best.T.shape, device=losses.device)
            empty = torch.zeros(self.num_codebooks, self.num_codes, device=losses.device)
            predicted, wanted = empty.scatter_add(1, best.T, ones), empty.scatter_add(1, targets.T, ones)
        nothing = torch.zeros((), dtype=torch.int64, device=losses.device)
        return Loss(by_clip.sum(), by_clip.detach(), masked.counts, num_correct, nothing, nothing, predicted, wanted)
