"""Glosses while a video runs: equal to one pass where the model's sight fits the window, measured where it doesn't."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path

import pytest
import torch

from signwave.ctc import BeamOptions, beam_search, greedy
from signwave.errors import UserError
from slr.infer import Recognizer
from slr.sources import open_source
from slr.streaming import OnlineBeam, OnlineGreedy, Sliding, StreamRecognizer, disagreement

sys.path.insert(0, str(Path(__file__).parent))
TINY = importlib.import_module("tiny_signs")


@pytest.fixture
def exact(tmp_path: Path) -> Recognizer:
    return Recognizer.load(TINY.save_tiny(tmp_path / "exact"), device="cpu")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return TINY.write_moving(tmp_path / "clip.mp4", 230, seed=3)


def chunked(stream: StreamRecognizer, path: Path) -> torch.Tensor:
    return torch.cat(list(stream.steps(open_source(path, stream.recognizer.needs))))


@pytest.mark.parametrize(
    ("window", "hop", "lookahead"), [(2.0, 0.5, 0.32), (1.0, 0.16, 0.32), (4.0, 2.0, 1.0), (30.0, 0.5, 0.5)]
)
def test_chunked_equals_one_pass_within_the_models_sight(
    exact: Recognizer, clip: Path, window: float, hop: float, lookahead: float
) -> None:
    settings = Sliding(window_seconds=window, hop_seconds=hop, lookahead_seconds=lookahead)
    stream = StreamRecognizer(exact, settings=settings)
    assert stream.is_exact
    whole = exact.posteriors(clip)
    torch.testing.assert_close(chunked(stream, clip), whole, atol=1e-4, rtol=0)
    assert disagreement(stream, clip) == 0
    live, offline = stream(clip), exact(clip)
    assert live.text == offline.text
    assert len(offline.words) > 5
    for a, b in zip(live.words, offline.words, strict=True):
        assert (a.start_seconds, a.end_seconds) == (b.start_seconds, b.end_seconds)
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_too_little_context_is_said_and_measured(exact: Recognizer, clip: Path, tmp_path: Path) -> None:
    blind = StreamRecognizer(exact, settings=Sliding(window_seconds=1.0, hop_seconds=0.5, lookahead_seconds=0.0))
    assert not blind.is_exact
    assert (chunked(blind, clip) - exact.posteriors(clip)).abs().max() > 1e-3
    far = Recognizer.load(TINY.save_tiny(tmp_path / "far", whole=True), device="cpu")
    stream = StreamRecognizer(far)
    assert not stream.is_exact
    assert 0 < disagreement(stream, clip) < 1
    assert stream(clip).details["stream"]["exact"] is False


def test_latency_is_what_the_frames_show(exact: Recognizer, clip: Path) -> None:
    """A gloss comes once the frame that is `latency` past its last step has been read, not before and not later."""
    settings = Sliding(window_seconds=2.0, hop_seconds=0.48, lookahead_seconds=0.64)
    stream = StreamRecognizer(exact, settings=settings)
    assert stream.latency == pytest.approx((0.64 + 0.24 + 0.16, 0.64 + 0.48 + 0.16))
    source = open_source(clip, exact.needs, chunk_frames=1)
    num_read = 0

    def counted(chunks):
        nonlocal num_read
        for chunk in chunks:
            num_read += len(chunk)
            yield chunk

    source.chunks = counted(source.chunks)
    waits = [
        num_read / 25 - (word.end_seconds + 0.08) for word in stream.words(source) if num_read < 230
    ]  # + 0.08: the clock puts step i half a stride before its frames end
    assert len(waits) > 3
    assert max(waits) <= stream.latency.max_seconds + 1e-6
    assert min(waits) >= settings.lookahead_seconds - 1e-6


def test_words_come_while_the_stream_runs(exact: Recognizer, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = clip.read_bytes()
    assert b"moov" in content[:200]  # the index comes first, so a pipe can bring it
    told: list[str] = []
    stream = StreamRecognizer(exact, on_word=lambda word: told.append(word.text))
    offline = StreamRecognizer(exact)(clip)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    piped = stream("-")
    assert piped.text == offline.text == " ".join(told)
    assert piped.duration_seconds == pytest.approx(9.2)


def test_a_model_of_poses_streams_files_but_no_pipe(tmp_path: Path, write_pose) -> None:
    from dataclasses import asdict

    from signwave import bundle
    from slr.models.keypoint_conformer import KeypointConformerConfig

    torch.manual_seed(0)
    config = KeypointConformerConfig(dim=16, group_dim=8, num_heads=2, attention_radius_steps=2)
    settings = {**asdict(config), "vocab_size": TINY.VOCABULARY.size}
    info = {"name": "k", "rate_hz": 25.0, "reads": "keypoints"}
    model = config.build(vocab_size=TINY.VOCABULARY.size)
    bundle.save(
        tmp_path / "k", kind="slr.keypoint_conformer", model=model, config=settings, vocabulary=TINY.VOCABULARY,
        info=info,
    )  # fmt: skip
    recognizer = Recognizer.load(tmp_path / "k", device="cpu")
    radius = recognizer.receptive_radius_frames / 25
    settings = Sliding(window_seconds=2 * radius + 1, hop_seconds=0.5, lookahead_seconds=radius + 0.16)
    stream = StreamRecognizer(recognizer, settings=settings)
    pose = write_pose(tmp_path / "a.pose", [3, 1, 4, 1, 5, 9, 2, 6] * 3)
    assert stream.is_exact
    torch.testing.assert_close(chunked(stream, pose), recognizer.posteriors(pose), atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="-: a stream from stdin must be a video, and this model reads keypoints"):
        stream("-")


def test_online_greedy_equals_greedy() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        log_probs = (3 * torch.randn(50, 4)).log_softmax(-1)
        (whole,) = greedy(log_probs[None], torch.tensor([50]))
        online, found = OnlineGreedy(), []
        for piece in log_probs.split([1, 7, 0, 20, 2, 20]):
            found.append(online.push(piece))
        found.append(online.finish())
        assert sum((part.tokens for part in found), ()) == whole.tokens
        assert sum((part.steps for part in found), ()) == whole.steps
        assert sum((part.confidences for part in found), ()) == pytest.approx(whole.confidences)
    assert OnlineGreedy().finish().tokens == ()


def test_online_beam_decides_at_rests_and_never_holds_much() -> None:
    torch.manual_seed(0)
    sign, rest = torch.randn(6, 4).mul(2), torch.tensor([[9.0, 0, 0, 0]]).repeat(5, 1)
    log_probs = torch.cat([rest, sign, rest, sign.flip(0), rest, sign[:3]]).log_softmax(-1)

    def decode(values, num_steps):
        return beam_search(values, num_steps, options=BeamOptions(beam_width=8))

    (whole,) = decode(log_probs[None], torch.tensor([len(log_probs)]))
    online = OnlineBeam(decode, rest_steps=3, max_steps=100)
    found = [online.push(step) for step in log_probs.split(1)]
    assert any(part.tokens for part in found)
    found.append(online.finish())
    assert sum((part.tokens for part in found), ()) == whole[0].tokens
    assert sum((part.steps for part in found), ()) == whole[0].steps
    endless = OnlineBeam(decode, rest_steps=3, max_steps=10)
    busy = torch.tensor([[0.0, 9, 0, 0], [0.0, 0, 9, 0]]).log_softmax(-1)
    assert sum(len(endless.push(busy).tokens) for _ in range(10)) == 20


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"window_seconds": 0.0}, "--window-seconds 0, .* the first two must be above 0"),
        ({"hop_seconds": 0.0}, "--hop-seconds 0 .* must be above 0"),
        ({"lookahead_seconds": -1.0}, "--lookahead-seconds -1"),
        ({"window_seconds": 1e6}, "at most 600 s"),
        ({"window_seconds": 1.0}, "--window-seconds 1: must hold hop and look-ahead, 1.4[48] s"),
    ],
)
def test_windows_that_cannot_be(exact: Recognizer, settings: dict[str, float], text: str) -> None:
    with pytest.raises(UserError, match=text):
        StreamRecognizer(exact, settings=Sliding(**settings))
