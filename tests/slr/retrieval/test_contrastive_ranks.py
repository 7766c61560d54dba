"""Two processes with unequal shares of a contrastive batch have the loss and the gradient of one with all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from slr.models.dual_encoder import Embedded
from slr.retrieval.learning.gathering import gather_plain, gather_rows, gather_texts, gather_vectors, world_size

SCRIPT = Path(__file__).with_name("contrastive_rank.py")


def test_two_processes_are_one(tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), str(world), str(tmp_path)],
                         stderr=subprocess.PIPE, text=True)
        for rank, world in ((0, 1), (0, 2), (1, 2))
    ]  # fmt: skip
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    alone, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert len(alone) == 6
    for name, expected in alone.items():
        assert bool(expected.abs().max() > 1e-3), name
        torch.testing.assert_close(first[name], expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(second[name], expected, atol=1e-6, rtol=1e-5)


def test_one_process_gathers_nothing() -> None:
    texts = Embedded(torch.rand(2, 3, 4), torch.tensor([3, 1]), torch.rand(2, 4))
    assert world_size() == 1
    assert gather_texts(texts) is texts
    assert gather_vectors(texts.pooled) is texts.pooled
    assert gather_plain(texts.num_tokens) is texts.num_tokens
    assert gather_rows(texts.pooled)[0] is texts.pooled
