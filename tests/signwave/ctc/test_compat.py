"""A script written for ctcdecode, with one changed import; and real logits whose text is known."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from signwave.ctc import NgramLm, beam_search, decode
from signwave.ctc.beam import BeamOptions
from signwave.ctc.compat import CTCBeamDecoder
from signwave.ctc.decode import Decoder, DecoderOptions
from signwave.ctc.times import Clock, words

TEXT = "i have a good deal of will you remember and what i have set my mind upon no doubt i shall some day achieve"
LIBRI_LABELS = [*" abcdefghijklmnopqrstuvwxyz'", "_"]


@pytest.fixture(scope="session")
def libri(shared_data: Path) -> Tensor:
    """(1, 371, 29) natural logs of a LibriSpeech model, blank last."""
    logits = json.loads((shared_data / "decoding/pyctcdecode/libri_logits.json").read_text())
    return torch.tensor(logits, dtype=torch.float32).log_softmax(-1).unsqueeze(0)


def blank_first(log_probs: Tensor) -> Tensor:
    return log_probs.roll(1, dims=2)


@pytest.mark.parametrize("blank_id", [0, 2, 3])
def test_a_ported_script(draw: Callable[..., Tensor], blank_id: int) -> None:
    log_probs = draw(3, num_items=2, num_steps=12, vocab_size=4)
    order = list(range(1, 4))
    order.insert(blank_id, 0)
    labels = ["_abc"[index] for index in order]
    decoder = CTCBeamDecoder(
        labels,
        model_path=None,
        alpha=0,
        beta=0,
        cutoff_top_n=40,
        cutoff_prob=1.0,
        beam_width=10,
        num_processes=4,
        blank_id=blank_id,
        log_probs_input=False,
    )
    beam_results, beam_scores, timesteps, out_lens = decoder.decode(log_probs[:, :, order].exp(), torch.tensor([12, 7]))
    assert beam_results.shape == timesteps.shape == (2, 10, 12)
    assert beam_scores.shape == out_lens.shape == (2, 10)
    options = BeamOptions(beam_width=10, num_best=10)
    for item, found in enumerate(beam_search(log_probs, torch.tensor([12, 7]), options=options)):
        for rank, one in enumerate(found):
            length = int(out_lens[item][rank])
            text = "".join(labels[index] for index in beam_results[item][rank][:length])
            assert text == "".join("_abc"[token] for token in one.tokens)
            assert float(beam_scores[item][rank]) == pytest.approx(-one.score, abs=1e-4)
            peaks = timesteps[item][rank][:length].tolist()
            assert all(start <= peak < end for peak, (start, end) in zip(peaks, one.steps, strict=True))
    assert (beam_scores.diff(dim=1) >= 0).all()


def test_absent_beams_and_all_steps_by_default() -> None:
    results = CTCBeamDecoder(["_", "a"], beam_width=5).decode(torch.tensor([[[0.25, 0.75]]]))
    assert results.out_lens.tolist() == [[1, 0, 0, 0, 0]]
    assert results.beam_scores[0, :2].exp().tolist() == pytest.approx([4 / 3, 4])
    assert results.beam_scores[0, 2:].tolist() == [math.inf] * 3


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="blank_id is 7; allowed are 0 to 1"):
        CTCBeamDecoder(["_", "a"], blank_id=7)
    with pytest.raises(ValueError, match=r"probs must be \(B, T, 2\)"):
        CTCBeamDecoder(["_", "a"]).decode(torch.zeros(1, 3, 4))


def test_character_and_word_models(tmp_path: Path, draw: Callable[..., Tensor]) -> None:
    probs = draw(3, num_items=1, num_steps=12, vocab_size=4).exp()
    labels = ["_", " ", "a", "b"]
    NgramLm.train([["a", "b"], ["b"]], order=2).write_arpa(tmp_path / "char.arpa")
    NgramLm.train([["ab", "b"], ["ab"]], order=2).write_arpa(tmp_path / "word.arpa")
    plain = CTCBeamDecoder(labels).decode(probs)
    for name in ("char.arpa", "word.arpa"):
        scored = CTCBeamDecoder(labels, model_path=str(tmp_path / name), alpha=1.0, beta=0.5).decode(probs)
        assert not torch.allclose(scored.beam_scores, plain.beam_scores)
    free = CTCBeamDecoder(labels, model_path=str(tmp_path / "char.arpa"), alpha=0, beta=0).decode(probs)
    assert torch.allclose(free.beam_scores, plain.beam_scores)


@pytest.mark.parametrize("method", ["greedy", "beam", "flashlight"])
def test_real_logits_give_the_known_text(libri: Tensor, method: str) -> None:
    found = decode(blank_first(libri), torch.tensor([371]), method=method)[0]  # type: ignore[arg-type]
    assert "".join(LIBRI_LABELS[token - 1] for token in found.tokens) == TEXT
    tokens = ["<blank>", *LIBRI_LABELS[:-1]]
    timed = words(found, tokens=tokens, clock=Clock(stride_seconds=0.02), boundary=1)
    assert [word.text for word in timed] == TEXT.split()
    assert timed[1].start_seconds == pytest.approx(0.68, abs=0.05)
    assert all(one.end_seconds <= two.start_seconds + 1e-9 for one, two in itertools.pairwise(timed))
    assert min(word.score for word in timed) > 0.5


def test_real_logits_through_ctcdecodes_call(libri: Tensor) -> None:
    results = CTCBeamDecoder(LIBRI_LABELS, blank_id=28, beam_width=20, log_probs_input=True).decode(libri)
    best = results.beam_results[0][0][: results.out_lens[0][0]]
    assert "".join(LIBRI_LABELS[index] for index in best) == TEXT


@pytest.mark.slow
def test_real_logits_with_a_real_word_model(libri: Tensor, shared_data: Path) -> None:
    """200,000 words; both searches find the same text at the same score."""
    lm_path = shared_data / "decoding/flashlight_text/lm.arpa"
    found = {}
    for method in ("beam", "flashlight"):
        options = DecoderOptions(method=method, beam_width=50, lm_unit="word", lm_weight=0.5)  # type: ignore[arg-type]
        decoder = Decoder(["<blank>", *LIBRI_LABELS[:-1]], options=options, lm=lm_path, boundary=1)
        found[method] = decoder.best(blank_first(libri), torch.tensor([371]))[0]
        assert "".join(LIBRI_LABELS[token - 1] for token in found[method].tokens) == TEXT
    assert found["beam"].score == pytest.approx(found["flashlight"].score, abs=0.05)
    assert found["beam"].lm_score == pytest.approx(found["flashlight"].lm_score, abs=0.05)


def test_flashlights_own_emissions(shared_data: Path) -> None:
    """Their matrix is noise over 29 letters, which makes the decoders' agreement hard to get by luck."""
    folder = shared_data / "decoding/flashlight_text"
    shape = torch.frombuffer(bytearray((folder / "TN.bin").read_bytes()), dtype=torch.int32).tolist()
    values = torch.frombuffer(bytearray((folder / "emission.bin").read_bytes()), dtype=torch.float32)
    log_probs = values.reshape(1, *shape).log_softmax(-1)
    num_steps = torch.tensor([shape[0]])
    tokens = [str(index) for index in range(shape[1])]
    options = DecoderOptions(method="beam", beam_width=100, top_tokens=28)
    ours = Decoder(tokens, options=options).best(log_probs, num_steps)[0]
    theirs = Decoder(tokens, options=DecoderOptions(method="flashlight", beam_width=300, top_tokens=28)).best(
        log_probs, num_steps
    )[0]
    assert ours.score >= theirs.score - 1e-2
    greedy = decode(log_probs, num_steps)[0]
    assert ours.score > greedy.score
