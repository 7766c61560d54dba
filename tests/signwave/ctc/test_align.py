import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from signwave.ctc import STAR, Alignment, align
from signwave.errors import LabelError


def one(
    log_probs: Tensor, labels: tuple[int, ...], num_steps: int | None = None, **options: object
) -> Alignment | None:
    steps = torch.tensor([log_probs.shape[1] if num_steps is None else num_steps])
    padded = torch.tensor([labels], dtype=torch.int64).reshape(1, -1)
    return align(log_probs, steps, padded, torch.tensor([len(labels)]), **options)[0]  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_steps=st.integers(0, 5),
    vocab_size=st.integers(2, 4),
    holes=st.booleans(),
    backend=st.sampled_from(["torch", "torchaudio"]),
)
def test_the_path_is_the_best_of_all(
    all_paths: Callable,
    draw: Callable[..., Tensor],
    seed: int,
    num_steps: int,
    vocab_size: int,
    holes: bool,
    backend: str,
) -> None:
    log_probs = draw(seed, num_items=1, num_steps=5, vocab_size=vocab_size, holes=holes)
    for labels, best in all_paths(log_probs[0, :num_steps]).best.items():
        found = one(log_probs, labels, num_steps, backend=backend)
        assert found is not None
        assert found.score == pytest.approx(best, abs=1e-4)
        assert found.tokens == labels
        spans = [0, *itertools.chain(*found.steps), num_steps]
        assert spans == sorted(spans)
        path = [0] * num_steps
        for token, (start, end) in zip(labels, found.steps):
            path[start:end] = [token] * (end - start)
        assert sum(float(log_probs[0, t, token]) for t, token in enumerate(path)) == pytest.approx(best, abs=1e-4)
        for rank, (token, (start, end)) in enumerate(zip(labels, found.steps)):
            posteriors = log_probs[0, start:end, token].exp()
            assert found.mean_posteriors[rank] == pytest.approx(float(posteriors.mean()), abs=1e-5)
            assert found.min_posteriors[rank] == pytest.approx(float(posteriors.min()), abs=1e-5)
            assert found.peaks[rank] == start + int(posteriors.argmax())


@pytest.mark.parametrize("backend", ["torch", "torchaudio"])
def test_batch_and_padding_change_nothing(draw: Callable[..., Tensor], backend: str) -> None:
    log_probs = draw(7, num_items=4, num_steps=40, vocab_size=8)
    num_steps, num_labels = torch.tensor([40, 9, 25, 0]), torch.tensor([12, 4, 0, 0])
    labels = torch.randint(1, 8, (4, 12), generator=torch.Generator().manual_seed(1))
    for item, length in enumerate(num_labels.tolist()):
        labels[item, length:] = -100
    together = align(log_probs, num_steps, labels, num_labels, backend=backend)  # type: ignore[arg-type]
    for item, whole in enumerate(together):
        length, count = int(num_steps[item]), int(num_labels[item])
        alone = one(log_probs[item : item + 1, :length], tuple(labels[item, :count].tolist()), backend=backend)
        assert alone is not None
        assert whole is not None
        assert alone.steps == whole.steps
        assert alone.score == pytest.approx(whole.score, abs=1e-4)


def test_back_ends_agree_on_long_input(draw: Callable[..., Tensor]) -> None:
    log_probs = draw(8, num_items=2, num_steps=300, vocab_size=20)
    labels = torch.randint(1, 20, (2, 80), generator=torch.Generator().manual_seed(2))
    labels[:, 10:14] = 3
    arguments = (log_probs, torch.tensor([300, 280]), labels, torch.tensor([80, 75]))
    for ours, theirs in zip(align(*arguments, backend="torch"), align(*arguments, backend="torchaudio"), strict=True):
        assert ours is not None
        assert theirs is not None
        assert ours.steps == theirs.steps
        assert ours.score == pytest.approx(theirs.score, rel=1e-5)


def test_too_few_steps(draw: Callable[..., Tensor], caplog: pytest.LogCaptureFixture) -> None:
    log_probs = draw(1, num_items=2, num_steps=4, vocab_size=4)
    arguments = (log_probs, torch.tensor([4, 4]), torch.tensor([[1, 1, 1], [1, 2, 3]]), torch.tensor([3, 3]))
    with pytest.raises(LabelError, match=r"'long': its labels need 5 steps .* it has 4; use a model"):
        align(*arguments, ids=["long", "fits"])
    found = align(*arguments, ids=["long", "fits"], on_infeasible="none")
    assert found[0] is None
    assert found[1] is not None
    assert "'long': its labels need 5 steps" in caplog.text


@pytest.mark.parametrize("backend", ["torch", "torchaudio"])
def test_labels_that_the_model_rules_out(backend: str) -> None:
    log_probs = torch.tensor([[[math.log(0.5), math.log(0.5), -math.inf]] * 4])
    with pytest.raises(LabelError, match="probability 0"):
        one(log_probs, (1, 2), backend=backend)


@pytest.mark.parametrize("bad", [-100, 4, 1_000_000, 0])
def test_bad_labels_are_refused_by_name(bad: int) -> None:
    with pytest.raises(LabelError, match=f"'clip': label {bad} "):
        one(torch.zeros(1, 5, 4).log_softmax(-1), (1, bad), ids=["clip"])


def spoken(path: list[int], vocab_size: int) -> Tensor:
    log_probs = torch.full((1, len(path), vocab_size), 0.05 / (vocab_size - 1)).log()
    log_probs[0, range(len(path)), path] = math.log(0.95)
    return log_probs


def test_a_wildcard_absorbs_what_the_text_leaves_out() -> None:
    log_probs = spoken([1, 1, 0, 3, 4, 0, 3, 2, 2], 5)
    found = one(log_probs, (1, STAR, 2))
    assert found is not None
    assert found.steps[0] == (0, 2)
    assert found.steps[2] == (7, 9)
    assert found.steps[1] == (3, 7)
    assert found.mean_posteriors == pytest.approx((0.95, 0.95, 0.95), abs=1e-5)
    plain = one(log_probs, (1, 2))
    assert plain is not None
    assert plain.score < found.score


def test_a_wildcard_leaves_real_labels_alone() -> None:
    found = one(spoken([1, 1, 2, 2, 3, 0], 5), (1, 2, STAR))
    assert found is not None
    assert found.steps == ((0, 2), (2, 4), (4, 5))


def test_wildcards_by_enumeration(draw: Callable[..., Tensor]) -> None:
    """The wildcard as one more token whose log probability is the best token's less the penalty."""
    log_probs = draw(3, num_items=1, num_steps=5, vocab_size=3)
    widened = torch.cat([log_probs, log_probs.amax(2, keepdim=True) - 0.25], dim=2)
    for labels in [(3,), (1, 3), (3, 2, 3), (3, 3), (1, 3, 1)]:
        expected = one(widened, labels)
        found = one(log_probs, tuple(STAR if label == 3 else label for label in labels), star_penalty=0.25)
        assert expected is not None
        assert found is not None
        assert found.score == pytest.approx(expected.score, abs=1e-5)
        assert found.steps == expected.steps


def test_wildcards_are_for_the_torch_back_end() -> None:
    with pytest.raises(ValueError, match="knows no wildcard"):
        one(torch.zeros(1, 5, 4).log_softmax(-1), (1, STAR), backend="torchaudio")


@pytest.mark.gpu
def test_alignment_on_the_gpu(draw: Callable[..., Tensor]) -> None:
    log_probs = draw(8, num_items=2, num_steps=100, vocab_size=20)
    labels = torch.randint(1, 20, (2, 30), generator=torch.Generator().manual_seed(2))
    arguments = (torch.tensor([100, 80]), labels, torch.tensor([30, 25]))
    for ours, theirs in zip(align(log_probs.cuda(), *arguments), align(log_probs, *arguments), strict=True):
        assert ours is not None
        assert theirs is not None
        assert ours.steps == theirs.steps


def test_impossible_tokens_give_the_same_path_on_both_back_ends() -> None:
    """torchaudio's kernel follows pointers it never wrote where a state can't be reached."""
    random = torch.Generator().manual_seed(0)
    for _ in range(300):
        num_steps, num_labels = (int(torch.randint(1, high, (1,), generator=random)) for high in (7, 4))
        log_probs = torch.randn(1, num_steps, 4, generator=random).log_softmax(-1)
        log_probs[torch.rand(1, num_steps, 4, generator=random) < 0.35] = -math.inf
        labels = tuple(torch.randint(1, 4, (num_labels,), generator=random).tolist())
        reference = one(log_probs, labels, backend="torch", on_infeasible="none")
        for backend in ("auto", "torchaudio"):
            found = one(log_probs, labels, backend=backend, on_infeasible="none")
            assert (found is None) == (reference is None)
            assert found is None or reference is None or found.steps == reference.steps
