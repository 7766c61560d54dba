"""One process of a contrastive step, run as a script by test_contrastive_ranks.py: RANK WORLD_SIZE FOLDER.

Process 0 of two has two clips and three texts, process 1 has three and two, of other lengths; one process has all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from slr.models.dual_encoder import Embedded, valid_mask
from slr.retrieval.learning.batch import positives
from slr.retrieval.learning.contrastive import pair_scores
from slr.retrieval.learning.gathering import gather_plain, gather_rows, gather_texts, gather_vectors, world_size
from slr.retrieval.similarity import contrastive_loss

NUM_SIGNS, CLIP_GROUPS = [2, 5, 3, 7, 1], [0, 1, 2, 0, 3]
# A clip of the first process has its captions in the second and the reverse; captions 0 and 4 are the same text.
NUM_WORDS, TEXT_GROUPS, TEXT_KEYS = [3, 2, 4, 6, 1], [0, 2, 3, 1, 0], [10, 11, 12, 13, 10]
SHARES = [(slice(0, 2), slice(0, 3)), (slice(2, 5), slice(3, 5))]


class Towers(nn.Module):
    """A layer on either side and the scale of the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.signs, self.words, self.scale = nn.Linear(6, 4), nn.Linear(5, 4), nn.Parameter(torch.tensor(3.0))

    def forward(self, clips: tuple[Tensor, Tensor], *texts: tuple[Tensor, Tensor]) -> tuple[list[Embedded], Tensor]:
        """Clips and each kind of texts, (B, N, F) and (B,), and the scale."""
        layers = (self.signs, *(self.words for _ in texts))
        return [embed(layer, *some) for layer, some in zip(layers, (clips, *texts), strict=True)], self.scale


def embed(layer: nn.Module, inputs: Tensor, lengths: Tensor) -> Embedded:
    valid = valid_mask(lengths, inputs.shape[1])[..., None]
    tokens = functional.normalize(layer(inputs), dim=-1) * valid
    return Embedded(tokens, lengths, functional.normalize(tokens.sum(1), dim=-1))


def items(lengths: list[int], size: int, seed: int, share: slice) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(lengths), max(lengths), size, generator=draw)
    chosen = torch.tensor(lengths[share])
    return inputs[share, : int(chosen.max())], chosen


def step(rank: int, world: int) -> tuple[Tensor, nn.Module]:
    """The loss that one process sees, and the model after its backward pass."""
    clip_share, text_share = SHARES[rank] if world > 1 else (slice(None), slice(None))
    torch.manual_seed(0)
    model = Towers()
    run: nn.Module = DistributedDataParallel(model) if world > 1 else model
    texts_in = (items(NUM_WORDS, 5, 1, text_share), items(NUM_WORDS[::-1], 5, 2, text_share))
    (clips, own_texts, own_swapped), scale = run(items(NUM_SIGNS, 6, 0, clip_share), *texts_in)
    texts, swapped = gather_texts(own_texts), gather_texts(own_swapped)
    clip_groups = gather_plain(torch.tensor(CLIP_GROUPS[clip_share]))
    text_groups = gather_plain(torch.tensor(TEXT_GROUPS[text_share]))
    positive = positives(clip_groups, text_groups, gather_plain(torch.tensor(TEXT_KEYS[text_share])))
    scores = pair_scores(clips, texts, swapped=swapped, block_elements=100)
    by_sign, by_word = gather_rows(scores.by_sign * scale, scores.by_word * scale)
    (pooled,) = gather_rows(clips.pooled @ texts.pooled.T * scale)
    (within,) = gather_rows(clips.pooled @ gather_vectors(clips.pooled).T)
    loss = contrastive_loss(by_sign, by_word, positive) + contrastive_loss(pooled, pooled, positive)
    loss = loss + within.square().mean()
    (loss * world_size()).backward()
    return loss.detach(), model


def main(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    loss, model = step(rank, world)
    torch.save({"loss": loss} | {name: p.grad for name, p in model.named_parameters()}, folder / f"{world}-{rank}.pt")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
