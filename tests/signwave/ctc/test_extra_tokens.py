"""Wildcards and mixtures against the enumeration of all paths."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from signwave.ctc import ctc_loss
from signwave.ctc.extra_tokens import ExtraTokens
from signwave.errors import LabelError
from signwave.text import Vocabulary

VOCABULARY = Vocabulary(("<blank>", "A", "B", "C"))
SPECS = {"*": "any", "~X": {"A": 0.75, "B": 0.25}, "+": "sign", "~Y": {"C": 2.0}}


def _extra(**options: float) -> ExtraTokens:
    return ExtraTokens(VOCABULARY, SPECS, **options)  # type: ignore[arg-type]


def _score(extra: ExtraTokens, row: Tensor, token: int) -> Tensor:
    """Score of a token, real or extra, on one step: (V,) → ()."""
    if token < VOCABULARY.size:
        return row[token]
    spec = SPECS[extra.names[token - VOCABULARY.size]]
    if spec == "any":
        return torch.tensor(-extra.star_penalty, dtype=row.dtype)
    if spec == "sign":
        return row[1:].exp().sum().log() - extra.star_penalty
    total = sum(spec.values())  # type: ignore[union-attr]
    return sum(w / total * row[VOCABULARY.encode(t)[0]].exp() for t, w in spec.items()).log()  # type: ignore[union-attr]


def _collapse(path: tuple[int, ...]) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token]


def _brute(extra: ExtraTokens, log_probs: Tensor, labels: list[int]) -> Tensor:
    """−log of the summed scores of all label paths. log_probs: (T, V)."""
    tokens = sorted({0, *labels})
    sums = []
    for path in itertools.product(tokens, repeat=len(log_probs)):
        if _collapse(path) == labels:
            sums.append(sum(_score(extra, log_probs[step], token) for step, token in enumerate(path)))
    return -torch.stack(sums).logsumexp(0)  # type: ignore[arg-type]


TEXTS = ["*", "A *", "* A", "~X", "~X A", "A ~X B", "* B *", "+ ~Y", "~X ~X", "C"]


@pytest.mark.parametrize("text", TEXTS)
def test_value_and_gradient_are_those_of_all_paths(text: str) -> None:
    extra = _extra()
    torch.manual_seed(len(text))
    logits = torch.randn(5, 4, dtype=torch.float64)
    labels = extra.encode(text)
    wanted_in = logits.clone().requires_grad_()
    wanted = _brute(extra, wanted_in.log_softmax(-1), labels)
    wanted.backward()
    given_in = logits.clone().requires_grad_()
    found = extra.loss(
        given_in.log_softmax(-1)[None], torch.tensor([5]), torch.tensor([labels]), torch.tensor([len(labels)])
    )
    found.loss.backward()
    assert float(found.loss.detach()) == pytest.approx(float(wanted.detach()), abs=2e-5)
    np.testing.assert_allclose(given_in.grad, wanted_in.grad, atol=2e-5)


def test_without_extra_tokens_it_is_the_plain_loss() -> None:
    log_probs = torch.randn(3, 9, 4).log_softmax(-1)
    batch = (torch.tensor([9, 7, 4]), torch.tensor([[1, 2, 2], [3, 1, 0], [2, 0, 0]]), torch.tensor([3, 2, 1]))
    for extra in (_extra(), ExtraTokens(VOCABULARY, {})):
        torch.testing.assert_close(extra.loss(log_probs, *batch).per_item, ctc_loss(log_probs, *batch).per_item)


def test_padding_and_company_change_nothing() -> None:
    extra = _extra()
    rows = [torch.randn(size, 4).log_softmax(-1) for size in (6, 9, 2)]
    texts = ["A * B", "~X * C", "A B C"]  # the last one doesn't fit into two steps
    padded = torch.full((3, 12, 4), float("nan"))
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    padded.requires_grad_()
    labels = torch.tensor([extra.encode(text) for text in texts])
    found = extra.loss(padded, torch.tensor([6, 9, 2]), labels, torch.tensor([3, 3, 3]))
    assert found.skipped.tolist() == [False, False, True]
    assert float(found.per_item[2].detach()) == 0
    for place in (0, 1):
        alone = extra.loss(rows[place][None], torch.tensor([len(rows[place])]), labels[place][None], torch.tensor([3]))
        torch.testing.assert_close(found.per_item[place], alone.per_item[0])
    assert float(found.loss.detach()) == pytest.approx(float(found.per_item[:2].mean().detach()))
    found.loss.backward()
    assert padded.grad is not None
    assert bool(padded.grad.isfinite().all())
    assert float(padded.grad[2].abs().sum()) == 0


def test_a_wildcard_alone_teaches_nothing() -> None:
    """What it covers is neither rewarded nor punished: without other labels only the blank's share moves."""
    logits = torch.randn(1, 1, 4, requires_grad=True)
    loss = _extra().loss(logits.log_softmax(-1), torch.tensor([1]), torch.tensor([[4]]), torch.tensor([1])).loss
    loss.backward()
    assert logits.grad is not None
    assert float(loss.detach()) == pytest.approx(0.1)
    assert float(logits.grad.abs().max()) < 1e-6


def test_impossible_tokens_and_half_precision() -> None:
    extra = _extra()
    log_probs = torch.tensor([[[0.0, -math.inf, -math.inf, -math.inf]] * 4], requires_grad=True)
    found = extra.loss(log_probs, torch.tensor([4]), torch.tensor([[5]]), torch.tensor([1]))  # neither A nor B
    assert bool(found.skipped.all())
    found.loss.backward()
    assert log_probs.grad is not None
    assert bool(log_probs.grad.isfinite().all())
    half = torch.randn(1, 6, 4).log_softmax(-1)
    labels = (torch.tensor([6]), torch.tensor([extra.encode("A * ~X")]), torch.tensor([3]))
    assert float(extra.loss(half.bfloat16(), *labels).loss) == pytest.approx(
        float(extra.loss(half, *labels).loss), 0.03
    )
    assert extra.loss(half.bfloat16(), *labels).loss.dtype == torch.float32


def test_bad_specs_are_refused() -> None:
    with pytest.raises(LabelError, match="'~Z' stands for 'D', which is not among"):
        ExtraTokens(VOCABULARY, {"~Z": {"D": 1.0}})
    with pytest.raises(LabelError, match="'~Z' stands for nothing"):
        ExtraTokens(VOCABULARY, {"~Z": {"A": 0.0}})
    with pytest.raises(ValueError, match="'A' is a token of the vocabulary"):
        ExtraTokens(VOCABULARY, {"A": "any"})
    with pytest.raises(ValueError, match="got 'some'"):
        ExtraTokens(VOCABULARY, {"*": "some"})  # type: ignore[dict-item]
    with pytest.raises(LabelError, match="'D' not among the 3 tokens"):
        _extra().encode("A D")
    assert _extra().unknown("A D * ~X E") == ["D", "E"]
    with pytest.raises(LabelError, match="label 8 at position 0; allowed are 1 to 7"):
        _extra().loss(torch.zeros(1, 3, 4), torch.tensor([3]), torch.tensor([[8]]), torch.tensor([1]))


def test_training_with_a_wildcard_beats_deletion() -> None:
    """Half of the sentences 'A B' come without the name of B: is B still found in the steps where it is signed?"""
    found = {kind: _probability_of_b("A *", kind) for kind in ("sign", "any")}
    deleted = _probability_of_b("A", "sign")
    assert found["sign"] > 0.95
    assert deleted < found["any"] < found["sign"]
    assert deleted < 0.4


def _probability_of_b(text: str, kind: str) -> float:
    extra = ExtraTokens(VOCABULARY, {"*": kind})  # type: ignore[dict-item]
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    rest, first, second = torch.eye(3)
    clip = torch.stack([rest, first, first, rest, second, second, rest])
    rows = [extra.encode(text), extra.encode("A B")]
    labels = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    for _ in range(200):
        optimiser.zero_grad()
        log_probs = model(clip + 0.1 * torch.randn(2, 7, 3)).log_softmax(-1)
        extra.loss(log_probs, torch.tensor([7, 7]), labels, torch.tensor([len(row) for row in rows])).loss.backward()
        optimiser.step()
    return float(model(clip).softmax(-1)[4, 2].detach())
