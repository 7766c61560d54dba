"""Less peaky CTC: entropies and priors against enumeration, gradients, padding, and what they do to a small model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from signwave.ctc import ctc_loss
from signwave.ctc.peaky import LabelPriors, path_entropy, step_entropy

Draw = Callable[..., Tensor]


def collapse(path: tuple[int, ...]) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token]


def paths_of(scores: Tensor, labels: list[int]) -> Tensor:
    """Log score of every path that spells the labels; scores: (T, V), differentiable."""
    tokens = itertools.product(range(scores.shape[1]), repeat=len(scores))
    steps = range(len(scores))
    found = [scores[steps, path].sum() for path in tokens if collapse(path) == labels]
    return torch.stack(found) if found else scores.new_zeros(0)


def entropy_of(log_probs: Tensor, labels: list[int]) -> Tensor:
    paths = paths_of(log_probs, labels)
    posteriors = paths.softmax(0)
    return -(posteriors * paths.log_softmax(0)).nan_to_num(0).sum()


CASES = [[1], [1, 2], [2, 2], [], [1, 1, 2]]


def labels_of(cases: list[list[int]]) -> tuple[Tensor, Tensor]:
    labels = torch.full((len(cases), 3), 2)
    for row, case in enumerate(cases):
        labels[row, : len(case)] = torch.tensor(case, dtype=torch.int64)
    return labels, torch.tensor([len(case) for case in cases])


def test_step_entropy_is_the_mean_over_valid_steps(draw: Draw) -> None:
    log_probs = draw(0, num_items=2, num_steps=4, vocab_size=5, holes=True)
    num_steps = torch.tensor([4, 1])
    rows = torch.cat([log_probs[0], log_probs[1, :1]])
    wanted = torch.distributions.Categorical(logits=rows).entropy().mean()
    log_probs[1, 1:] = math.nan
    log_probs.requires_grad_()
    found = step_entropy(log_probs, num_steps)
    torch.testing.assert_close(found, wanted)
    found.backward()
    assert log_probs.grad is not None
    assert torch.isfinite(log_probs.grad).all()
    assert not log_probs.grad[1, 1:].any()


@pytest.mark.parametrize("seed", [0, 1])
def test_path_entropy_is_that_of_all_paths(draw: Draw, seed: int) -> None:
    log_probs = draw(seed, num_items=len(CASES), num_steps=5, vocab_size=3).requires_grad_()
    labels, num_labels = labels_of(CASES)
    num_steps = torch.tensor([5, 4, 5, 3, 5])
    found = path_entropy(log_probs, num_steps, labels, num_labels)
    items = list(zip(CASES, num_steps.tolist(), strict=True))
    wanted = torch.stack([entropy_of(log_probs[row, :steps], case) for row, (case, steps) in enumerate(items)])
    torch.testing.assert_close(found.entropy, wanted, atol=1e-5, rtol=1e-5)
    likelihoods = torch.stack(
        [paths_of(log_probs[row, :steps], case).logsumexp(0) for row, (case, steps) in enumerate(items)]
    )
    torch.testing.assert_close(found.log_likelihood, likelihoods, atol=1e-5, rtol=1e-5)
    (fast,) = torch.autograd.grad(found.entropy.sum(), log_probs)
    (slow,) = torch.autograd.grad(wanted.sum(), log_probs)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-4)


def test_path_entropy_of_impossible_items_is_zero_without_a_gradient(draw: Draw) -> None:
    log_probs = draw(3, num_items=3, num_steps=4, vocab_size=3)
    log_probs[1, :, 1] = -math.inf
    log_probs[2, 2:] = math.nan
    log_probs.requires_grad_()
    labels, num_labels = labels_of([[1, 1, 1], [1], [2]])
    found = path_entropy(log_probs, torch.tensor([4, 4, 2]), labels, num_labels)
    assert found.skipped.tolist() == [True, True, False]
    assert found.entropy.tolist()[:2] == [0, 0]
    (gradient,) = torch.autograd.grad(found.entropy.sum(), log_probs)
    assert torch.isfinite(gradient).all()
    assert not gradient[:2].any()


def test_prior_loss_is_that_of_all_paths_with_the_right_gradient(draw: Draw) -> None:
    logits = draw(5, num_items=len(CASES), num_steps=5, vocab_size=3).requires_grad_()
    labels, num_labels = labels_of(CASES)
    num_steps = torch.tensor([5, 4, 5, 3, 5])
    priors = LabelPriors(3, alpha=0.5)
    priors.observe(torch.tensor([[[0.8, 0.15, 0.05]]]).log(), torch.tensor([1]))
    priors.refresh()
    found = priors.loss(logits.log_softmax(2), num_steps, labels, num_labels, reduction="sum")
    scores = logits.log_softmax(2) - 0.5 * torch.tensor([0.8, 0.15, 0.05]).log()
    wanted = -torch.stack(
        [
            paths_of(scores[row, :steps], case).logsumexp(0)
            for row, (case, steps) in enumerate(zip(CASES, num_steps.tolist(), strict=True))
        ]
    )
    torch.testing.assert_close(found.per_item, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.loss, wanted.sum())
    (fast,) = torch.autograd.grad(found.loss, logits)
    (slow,) = torch.autograd.grad(wanted.sum(), logits)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-4)


def test_uniform_priors_change_nothing_and_impossible_items_stay_skipped(draw: Draw) -> None:
    log_probs = draw(6, num_items=2, num_steps=3, vocab_size=4)
    labels, num_labels = torch.tensor([[1, 2], [3, 3]]), torch.tensor([2, 2])
    num_steps = torch.tensor([3, 2])
    priors = LabelPriors(4)
    plain = ctc_loss(log_probs, num_steps, labels, num_labels)
    found = priors.loss(log_probs, num_steps, labels, num_labels)
    torch.testing.assert_close(priors.divide(log_probs), log_probs)
    assert found.skipped.tolist() == plain.skipped.tolist() == [False, True]
    shift = 3 * 0.3 * math.log(4)  # three steps, each divided by (1/4) ** 0.3
    torch.testing.assert_close(found.loss, plain.loss - shift)


def test_priors_are_the_mean_of_valid_steps_over_all_batches() -> None:
    priors = LabelPriors(2, floor=-3.0)
    first = torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[0.9, 0.1], [0.0, 1.0]]]).log()
    first[1, 1] = math.nan
    priors.observe(first, torch.tensor([2, 1]))
    priors.observe(torch.tensor([[[1.0, 0.0]]]).log(), torch.tensor([1]))
    before = priors.log_priors.clone()
    torch.testing.assert_close(before.exp(), torch.tensor([0.5, 0.5]))
    priors.refresh()
    torch.testing.assert_close(priors.log_priors.exp(), torch.tensor([3.4 / 4, 0.6 / 4]))
    priors.refresh()  # nothing was seen since: the priors stay
    torch.testing.assert_close(priors.log_priors.exp(), torch.tensor([3.4 / 4, 0.6 / 4]))
    priors.observe(torch.tensor([[[1.0, 0.0]]]).log(), torch.tensor([1]))
    priors.refresh()
    torch.testing.assert_close(priors.log_priors, torch.tensor([0.0, -3.0]))


def test_alpha_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 2"):
        LabelPriors(3, alpha=2)


def test_entropy_terms_widen_what_is_learnt_of_one_clip() -> None:
    labels, num_labels, num_steps = torch.tensor([[1, 2]]), torch.tensor([2]), torch.tensor([12])
    widths: dict[str, float] = {}
    entropies: dict[str, float] = {}
    for kind in ("plain", "steps", "paths"):
        logits = torch.randn(1, 12, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=0.1)
        for _ in range(150):
            log_probs = logits.log_softmax(2)
            loss = ctc_loss(log_probs, num_steps, labels, num_labels).loss
            if kind == "steps":
                loss = loss - 2.0 * step_entropy(log_probs, num_steps)
            if kind == "paths":
                loss = loss - 0.3 * path_entropy(log_probs, num_steps, labels, num_labels).entropy.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        log_probs = logits.detach().log_softmax(2)
        widths[kind] = float((log_probs[..., 0].exp() < 0.8).sum())
        entropies[kind] = float(path_entropy(log_probs, num_steps, labels, num_labels).entropy[0])
    assert widths["paths"] > widths["plain"], widths
    assert entropies["steps"] > entropies["plain"] < entropies["paths"], entropies


def toy_batch(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sixteen noisy clips of three of six signs, ten steps each, with three steps of rest around them."""
    labels = torch.stack([torch.randperm(6, generator=generator)[:3] + 1 for _ in range(16)])
    rest = torch.zeros(16, 3, dtype=torch.int64)
    parts = [part for place in range(3) for part in (rest, labels[:, place, None].expand(-1, 10))]
    tokens = torch.cat([*parts, rest], dim=1)
    inputs = nn.functional.one_hot(tokens, 7).float() * (tokens > 0)[..., None]
    inputs = inputs + 0.3 * torch.randn(*tokens.shape, 7, generator=generator)
    return inputs, torch.full((16,), tokens.shape[1]), labels, torch.full((16,), 3)


def trained_on_toy(*, alpha: float) -> tuple[float, float]:
    """Train a small convolution; return the steps that name a sign, per sign, and the share of clips read rightly."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv1d(7, 32, 7, padding=3), nn.ReLU(), nn.Conv1d(32, 7, 7, padding=3))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    priors = LabelPriors(7, alpha=alpha)
    for step in range(250):
        inputs, *rest = toy_batch(generator)
        log_probs = model(inputs.transpose(1, 2)).transpose(1, 2).log_softmax(2)
        priors.observe(log_probs, rest[0])
        loss = priors.loss(log_probs, *rest).loss
        if step % 50 == 49:
            priors.refresh()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    inputs, *rest = toy_batch(generator)
    with torch.no_grad():
        tokens = model(inputs.transpose(1, 2)).argmax(1)
    right = [collapse(tuple(row)) == labels for row, labels in zip(tokens.tolist(), rest[1].tolist(), strict=True)]
    return float((tokens > 0).float().sum(1).mean() / 3), sum(right) / len(right)


def test_with_priors_signs_are_named_on_more_of_their_ten_steps() -> None:
    plain, with_priors = trained_on_toy(alpha=0.0), trained_on_toy(alpha=0.1)
    assert plain[0] < 6.5, plain
    assert with_priors[0] > 9, with_priors
    assert with_priors[1] >= 0.9, with_priors


def test_priors_add_up_over_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, both = LabelPriors(2), LabelPriors(2), LabelPriors(2)
    one, two = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.9, 0.1], [0.8, 0.2]]]).log()
    first.observe(one, torch.tensor([1]))
    second.observe(two, torch.tensor([2]))
    for batch in (one, two):
        both.observe(batch, torch.tensor([batch.shape[1]]))
    both.refresh()
    others = iter([second._sums.clone(), second._count.clone()])
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.add_(next(others)))
    first.refresh()
    torch.testing.assert_close(first.log_priors, both.log_priors)
    torch.testing.assert_close(first.log_priors.exp(), torch.tensor([2.2 / 3, 0.8 / 3]))
