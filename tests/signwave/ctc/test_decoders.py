"""Greedy, beam and flashlight against enumeration, each other, and their own batch."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from signwave.ctc import BeamOptions, Hypothesis, NgramLm, TokenFusion, WordFusion, beam_search, greedy
from signwave.ctc.beam import _best
from signwave.ctc.decode import Decoder, DecoderOptions, decode
from signwave.ctc.flashlight import FlashlightDecoder, FlashlightOptions, character_lexicon
from signwave.errors import ArtefactError, UserError

WIDE = BeamOptions(beam_width=500, num_best=500)
SENTENCES = [list("abc"), list("aab"), list("cb"), list("baca")]


def scores(hypotheses: list[Hypothesis]) -> dict[tuple[int, ...], float]:
    return {one.tokens: one.score for one in hypotheses}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), vocab_size=st.integers(1, 4), holes=st.booleans(), data=st.data())
def test_a_wide_beam_ranks_every_label_sequence_by_its_probability(
    all_paths: Callable, draw: Callable[..., Tensor], seed: int, vocab_size: int, holes: bool, data: st.DataObject
) -> None:
    num_steps = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    log_probs = draw(seed, num_items=len(num_steps), num_steps=5, vocab_size=vocab_size, holes=holes)
    for item, found in enumerate(beam_search(log_probs, torch.tensor(num_steps), options=WIDE)):
        assert scores(found) == pytest.approx(all_paths(log_probs[item, : num_steps[item]]).total, abs=1e-4)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), num_steps=st.integers(1, 5))
def test_greedy_is_the_best_path(all_paths: Callable, draw: Callable[..., Tensor], seed: int, num_steps: int) -> None:
    log_probs = draw(seed, num_items=1, num_steps=5, vocab_size=4)
    found = greedy(log_probs, torch.tensor([num_steps]))[0]
    best = all_paths(log_probs[0, :num_steps]).best
    assert found.score == pytest.approx(max(best.values()), abs=1e-4)
    assert best[found.tokens] == max(best.values())


def test_greedy_spans_and_confidences() -> None:
    path = [0, 2, 2, 0, 2, 1, 1, 0]
    log_probs = torch.full((1, 9, 3), math.log(0.1))
    log_probs[0, range(8), path] = math.log(0.8)
    log_probs[0, 2, 2] = math.log(0.6)
    found = greedy(log_probs, torch.tensor([8]))[0]
    assert found.tokens == (2, 2, 1)
    assert found.steps == ((1, 3), (4, 5), (5, 7))
    assert found.confidences == pytest.approx((0.7, 0.8, 0.8))


@pytest.mark.parametrize("method", ["greedy", "beam", "flashlight"])
def test_batch_and_padding_change_nothing(draw: Callable[..., Tensor], method: str) -> None:
    log_probs = draw(1, num_items=4, num_steps=30, vocab_size=6)
    num_steps = torch.tensor([30, 12, 0, 21])
    decoder = Decoder([*"_abcde"], options=DecoderOptions(method=method, num_best=3))  # type: ignore[arg-type]
    together = decoder(log_probs, num_steps)
    other = log_probs.clone()
    for item, length in enumerate(num_steps.tolist()):
        other[item, length:] = float("nan")
        alone = decoder(log_probs[item : item + 1, :length], num_steps[item : item + 1])[0]
        for one, two in zip(alone, together[item], strict=True):
            assert one.tokens == two.tokens
            assert one.steps == two.steps
            assert one.score == pytest.approx(two.score, abs=1e-4)
    assert decoder(other, num_steps) == together
    assert together[2] == [Hypothesis((), 0.0)]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_flashlight_agrees_with_the_beam(draw: Callable[..., Tensor], seed: int) -> None:
    log_probs = draw(seed, num_items=2, num_steps=5, vocab_size=4)
    num_steps = torch.tensor([5, 4])
    options = FlashlightOptions(beam_width=5000, num_best=5000, threshold=1e9)
    theirs = FlashlightDecoder([*"_abc"], options=options)(log_probs, num_steps)
    for one, two in zip(beam_search(log_probs, num_steps, options=WIDE), theirs, strict=True):
        assert scores(one) == pytest.approx(scores(two), abs=1e-3)
        assert one[0].steps == two[0].steps


def test_flashlight_can_keep_the_better_path_only(all_paths: Callable, draw: Callable[..., Tensor]) -> None:
    log_probs = draw(5, num_items=1, num_steps=5, vocab_size=4)
    options = FlashlightOptions(beam_width=5000, num_best=5000, threshold=1e9, sum_paths=False)
    found = FlashlightDecoder([*"_abc"], options=options)(log_probs, torch.tensor([5]))[0]
    assert scores(found) == pytest.approx(all_paths(log_probs[0]).best, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_token_model_scores_the_same_everywhere(
    all_paths: Callable, draw: Callable[..., Tensor], tmp_path: Path, seed: int
) -> None:
    lm = NgramLm.train(SENTENCES * 3, order=3)
    lm.write_arpa(tmp_path / "abc.arpa")
    log_probs, num_steps = draw(seed, num_items=1, num_steps=5, vocab_size=4), torch.tensor([5])
    expected = {
        labels: total + 0.7 * lm.score(["_abc"[label] for label in labels]) + 0.3 * len(labels)
        for labels, total in all_paths(log_probs[0]).total.items()
    }
    fusion = TokenFusion(lm, [*"_abc"], weight=0.7, length_bonus=0.3)
    ours = beam_search(log_probs, num_steps, options=WIDE, fusion=fusion)[0]
    assert scores(ours) == pytest.approx(expected, abs=1e-3)
    options = FlashlightOptions(beam_width=5000, num_best=5000, threshold=1e9, lm_weight=0.7)
    theirs = FlashlightDecoder([*"_abc"], options=options, lm_path=tmp_path / "abc.arpa")(log_probs, num_steps)[0]
    without_bonus = {labels: score - 0.3 * len(labels) for labels, score in expected.items()}
    assert scores(theirs) == pytest.approx(without_bonus, abs=1e-3)
    ours_gain = {one.tokens: one.lm_score for one in ours}
    for one in theirs:
        assert one.lm_score + 0.3 * len(one.tokens) == pytest.approx(ours_gain[one.tokens], abs=1e-3)


def test_a_large_token_model_is_looked_up_instead_of_tabled(
    draw: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = NgramLm.train(SENTENCES, order=3)
    log_probs, num_steps = draw(2, num_items=2, num_steps=5, vocab_size=4), torch.tensor([5, 3])
    tabled = beam_search(log_probs, num_steps, options=WIDE, fusion=TokenFusion(lm, [*"_abc"]))
    monkeypatch.setattr("signwave.ctc.fusion._MAX_DENSE", 0)
    looked_up = beam_search(log_probs, num_steps, options=WIDE, fusion=TokenFusion(lm, [*"_abc"]))
    for one, two in zip(looked_up, tabled, strict=True):
        assert scores(one) == pytest.approx(scores(two), abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_word_model_scores_whole_words(all_paths: Callable, draw: Callable[..., Tensor], seed: int) -> None:
    lm = NgramLm.train([["ab", "b"], ["b", "ab", "a"], ["zz"]], order=2)
    log_probs = draw(seed, num_items=1, num_steps=5, vocab_size=4)
    fusion = WordFusion(lm, ["_", " ", "a", "b"], boundary=1, weight=0.7, length_bonus=0.3, unknown_penalty=2.0)
    expected = {}
    for labels, total in all_paths(log_probs[0]).total.items():
        words = "".join("_ ab"[label] for label in labels).split()
        unknown = sum(word not in lm for word in words)
        expected[labels] = total + 0.7 * lm.score(words) + 0.3 * len(words) - 2.0 * unknown
    found = beam_search(log_probs, torch.tensor([5]), options=WIDE, fusion=fusion)[0]
    assert scores(found) == pytest.approx(expected, abs=1e-3)


def test_a_lexicon_lets_known_words_out_only(draw: Callable[..., Tensor], tmp_path: Path) -> None:
    lm = NgramLm.train([["ab", "b"], ["b", "ab"]], order=2)
    lm.write_arpa(tmp_path / "words.arpa")
    tokens = ["_", " ", "a", "b"]
    options = DecoderOptions(method="flashlight", lm_unit="word", lm_weight=0.5, beam_width=100)
    decoder = Decoder(tokens, options=options, lm=tmp_path / "words.arpa", boundary=1)
    for seed in range(10):
        best = decoder.best(draw(seed, num_items=1, num_steps=12, vocab_size=4), torch.tensor([12]))[0]
        assert set(best.words) <= {"ab", "b"}
        assert "".join(tokens[token] for token in best.tokens).split() == list(best.words)
        assert len(best.steps) == len(best.tokens)


def test_a_last_word_counts_without_its_boundary() -> None:
    tokens = ["_", " ", "a", "b"]
    log_probs = torch.full((1, 3, 4), math.log(0.01))
    log_probs[0, range(3), [2, 0, 3]] = math.log(0.97)
    lexicon = character_lexicon(["ab", "b", "q?"], tokens)
    assert lexicon == {"ab": [[2, 3]], "b": [[3]]}
    found = FlashlightDecoder(tokens, lexicon=lexicon, boundary=1)(log_probs, torch.tensor([3]))[0][0]
    assert (found.tokens, found.words, found.steps) == ((2, 3), ("ab",), ((0, 1), (2, 3)))


def test_a_lexicon_without_boundary(draw: Callable[..., Tensor]) -> None:
    log_probs = torch.full((1, 4, 4), math.log(0.01))
    log_probs[0, range(4), [1, 2, 0, 3]] = math.log(0.97)
    decoder = FlashlightDecoder([*"_abc"], lexicon={"ab": [[1, 2]], "c": [[3]]})
    assert decoder(log_probs, torch.tensor([4]))[0][0].words == ("ab", "c")


@pytest.mark.parametrize("method", ["greedy", "beam", "flashlight"])
def test_a_step_without_any_possible_token(method: str) -> None:
    log_probs = torch.zeros((1, 4, 3)).log_softmax(-1)
    log_probs[0, 2] = -math.inf
    found = decode(log_probs, torch.tensor([4]), method=method)[0]  # type: ignore[arg-type]
    assert found.score == -math.inf


def test_nan_is_refused_by_item() -> None:
    log_probs = torch.zeros((2, 4, 3)).log_softmax(-1)
    log_probs[1, 3, 0] = float("nan")
    with pytest.raises(ValueError, match="item 1 holds NaN"):
        greedy(log_probs, torch.tensor([4, 4]))
    greedy(log_probs, torch.tensor([4, 3]))
    with pytest.raises(ValueError, match=r"num_steps\[0\] is 5"):
        greedy(log_probs, torch.tensor([5, 3]))


def test_ties_go_to_the_lower_token() -> None:
    log_probs = torch.zeros((1, 2, 5)).log_softmax(-1)
    options = BeamOptions(beam_width=4, num_best=4)
    first = beam_search(log_probs, torch.tensor([2]), options=options)[0]
    again = beam_search(log_probs.repeat(3, 1, 1), torch.tensor([2, 2, 2]), options=options)
    assert again == [first, first, first]
    assert [one.tokens for one in first] == [(1,), (2,), (3,), ()]
    assert greedy(log_probs, torch.tensor([2]))[0].tokens == ()


@pytest.mark.parametrize("width", [50, 3000])
def test_best_is_a_stable_sort(width: int) -> None:
    values = torch.randint(-3, 3, (4, width), generator=torch.Generator().manual_seed(0)).float()
    values[:, ::7] = -math.inf
    expected = values.sort(dim=1, descending=True, stable=True).indices[:, :20]
    assert torch.equal(_best(values, 20), expected)


def test_skipping_blanks_keeps_the_text_and_nearly_the_score(draw: Callable[..., Tensor]) -> None:
    log_probs = draw(4, num_items=3, num_steps=60, vocab_size=6)
    sure = torch.rand((3, 60), generator=torch.Generator().manual_seed(1)) < 0.7
    log_probs[sure] = torch.tensor([0.9996, *[0.0001] * 4, 0.0]).clamp(min=1e-9).log()
    num_steps = torch.tensor([60, 60, 37])
    exact = beam_search(log_probs, num_steps)
    skipping = beam_search(log_probs, num_steps, options=BeamOptions(blank_skip=0.99))
    for one, two in zip(exact, skipping, strict=True):
        assert one[0].tokens == two[0].tokens
        assert one[0].score == pytest.approx(two[0].score, abs=0.1)
        assert one[0].steps == two[0].steps


def test_a_cut_by_probability_leaves_the_likely_tokens() -> None:
    log_probs = torch.tensor([[[0.1, 0.5, 0.3, 0.1]]]).log()
    options = BeamOptions(beam_width=9, num_best=9, top_probability=0.7)
    assert {one.tokens for one in beam_search(log_probs, torch.tensor([1]), options=options)[0]} == {(), (1,), (2,)}


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="beam_width must be at least 1, got 0"):
        BeamOptions(beam_width=0)
    with pytest.raises(ValueError, match="allowed are greedy, beam, flashlight, cuda"):
        Decoder(["_", "a"], options=DecoderOptions(method="magic"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes no language model"):
        Decoder(["_", "a"], lm=NgramLm.train([["a"]]))
    with pytest.raises(ArtefactError, match="no such file"):
        FlashlightDecoder(["_", "a"], lm_path=tmp_path / "none.arpa")
    with pytest.raises(ValueError, match="built for 2"):
        Decoder(["_", "a"])(torch.zeros(1, 2, 3), torch.tensor([2]))
    with pytest.raises(ValueError, match="spells 'x' as"):
        FlashlightDecoder(["_", "a"], lexicon={"x": [[2]]})


@pytest.mark.skipif(torch.cuda.is_available(), reason="only where there is no GPU")
def test_the_cuda_decoder_says_that_it_needs_a_gpu() -> None:
    with pytest.raises(UserError, match="needs a CUDA GPU"):
        Decoder(["_", "a"], options=DecoderOptions(method="cuda"))


@pytest.mark.gpu
def test_decoders_agree_on_the_gpu(draw: Callable[..., Tensor]) -> None:
    log_probs, num_steps = draw(1, num_items=4, num_steps=40, vocab_size=12), torch.tensor([40, 0, 7, 33])
    on_cpu = decode(log_probs, num_steps, method="beam")
    on_gpu = decode(log_probs.cuda(), num_steps.cuda(), method="beam")
    by_cuda = decode(log_probs.cuda(), num_steps.cuda(), method="cuda")
    for one, two, three in zip(on_cpu, on_gpu, by_cuda, strict=True):
        assert one.tokens == two.tokens == three.tokens
        assert one.steps == two.steps == three.steps
        assert one.score == pytest.approx(two.score, abs=1e-3)
