"""Windows and stitching against one pass, passages against the whole, records for every kind of input."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from asr.infer import Recognizer, word_boundary
from asr.sources import Source, file_source
from signwave.ctc import greedy
from signwave.errors import MediaError
from signwave.text import Vocabulary
from signwave.windows import Passages, windows

Audio = NDArray[np.float32]
STEP = 320


def local_model(audio: Audio, *, vocab_size: int = 5, num_context: int = 3, seed: int = 0) -> Tensor:
    """Posteriors (T, V) that depend on `num_context` steps either side, zeros beyond the audio."""
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(vocab_size, 1, STEP * (2 * num_context + 1), generator=generator) * 0.05
    num_steps = len(audio) // STEP
    signal = torch.from_numpy(audio[: num_steps * STEP]).view(1, 1, -1)
    padded = torch.nn.functional.pad(signal, (num_context * STEP, num_context * STEP))
    return torch.nn.functional.conv1d(padded, kernel, stride=STEP)[0].T.log_softmax(-1)


@given(
    num_steps=st.integers(1, 120),
    window_steps=st.integers(9, 40),
    margin_steps=st.integers(3, 4),
    chunk_samples=st.integers(100, 20_000),
)
@settings(max_examples=40, deadline=None)
def test_stitched_posteriors_equal_one_pass(
    num_steps: int, window_steps: int, margin_steps: int, chunk_samples: int
) -> None:
    audio = np.random.default_rng(num_steps).normal(size=num_steps * STEP + 17).astype(np.float32)
    chunks = (audio[i : i + chunk_samples] for i in range(0, len(audio), chunk_samples))
    cut = list(windows(chunks, window_steps=window_steps, margin_steps=margin_steps, samples_per_step=STEP))
    parts = []
    for window in cut:
        assert len(window.samples) <= window_steps * STEP
        log_probs = local_model(window.samples)
        parts.append(window.middle(log_probs, log_probs.shape[0]))
    torch.testing.assert_close(torch.cat(parts), local_model(audio), rtol=0, atol=1e-4)


def test_windows_of_nothing_and_of_bad_margins() -> None:
    assert list(windows([], window_steps=10, margin_steps=2, samples_per_step=STEP)) == []
    with pytest.raises(ValueError, match="two margins of 5 steps must be shorter than the window of 10"):
        list(windows([], window_steps=10, margin_steps=5, samples_per_step=STEP))


@given(seed=st.integers(0, 10_000), max_steps=st.integers(24, 60))
@settings(max_examples=40, deadline=None)
def test_passages_join_to_the_whole_and_decode_alike(seed: int, max_steps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    whole = (torch.randn(150, 4, generator=generator) * 3 + torch.tensor([3.0, 0, 0, 0])).log_softmax(-1)
    passages = Passages(max_steps=max_steps, space=3)
    found = []
    for part in whole.split(7):
        found += list(passages.add(part))
    found += list(passages.finish())
    assert torch.equal(torch.cat([log_probs for _, log_probs in found]), whole)
    assert [first for first, _ in found] == np.cumsum([0] + [len(p) for _, p in found])[:-1].tolist()
    assert max(len(log_probs) for _, log_probs in found) <= max_steps
    tokens = [t for _, p in found for t in greedy(p.unsqueeze(0), torch.tensor([len(p)]))[0].tokens]
    assert tokens == list(greedy(whole.unsqueeze(0), torch.tensor([150]))[0].tokens)


def test_a_passage_ends_beside_a_space_rather_than_in_a_longer_run_within_a_word() -> None:
    space, letter = 2, 1
    path = [letter] * 10 + [0] * 4 + [space] + [letter] * 2 + [0] * 6 + [letter] * 2
    log_probs = torch.nn.functional.one_hot(torch.tensor(path), 3).float().mul(9).log_softmax(-1)
    with_space = Passages(max_steps=20, space=space)
    (first, passage), *_ = list(with_space.add(log_probs)) or [(0, log_probs)]
    assert (first, len(passage)) == (0, 12)


def test_words_have_times_and_scores(tone_model: Any, speak: Callable[..., Audio]) -> None:
    transcript = Recognizer(tone_model).transcribe(speak("hello you"))
    assert transcript.text == "hello you"
    assert transcript.status == "ok"
    hello, you = transcript.words
    # 5 steps a token: "hello" ends with the last step of its "o", "you" starts after the space.
    assert (hello.start_seconds, hello.end_seconds) == (0.0, pytest.approx((4 * 5 + 3) * 0.02))
    assert you.start_seconds == pytest.approx(6 * 5 * 0.02)
    assert all(0.9 < word.score <= 1 for word in transcript.words)
    assert transcript.duration_seconds == pytest.approx(9 * 5 * 0.02)


def test_segments_end_at_pauses(tone_model: Any, speak: Callable[..., Audio]) -> None:
    audio = np.concatenate([speak("one two"), speak(" "), np.zeros(16_000, np.float32), speak("three")])
    transcript = Recognizer(tone_model).transcribe(audio)
    assert [segment.text for segment in transcript.segments] == ["one two", "three"]
    assert transcript.text == "one two three"


def test_a_long_input_in_many_windows_and_passages_reads_like_one(tone_model: Any, speak: Callable[..., Audio]) -> None:
    text = " ".join(["quick brown fox"] * 60)
    audio = speak(text)
    whole = Recognizer(tone_model, window_seconds=1000).transcribe(audio)
    pieces = Recognizer(tone_model, window_seconds=4, margin_seconds=0.5, batch_size=3).transcribe(
        audio[i : i + 5000] for i in range(0, len(audio), 5000)
    )
    assert whole.text == pieces.text == text
    assert whole.segments == pieces.segments
    assert len(audio) > 60 * 16_000  # more than one passage


def test_inputs_share_batches_and_keep_their_order(tone_model: Any, speak: Callable[..., Audio]) -> None:
    texts = ["a", "bcd efg " * 20, "hi", "jk", "lm no" * 9]

    def source(text: str) -> Source:
        return Source(text, lambda: iter([speak(text)]))

    recognizer = Recognizer(tone_model, window_seconds=8, batch_size=2)
    found = list(recognizer.transcribe_many(source(text) for text in texts))
    assert [t.file for t in found] == texts
    assert [t.text for t in found] == [text.strip() for text in texts]
    assert max(len(batch) for batch in tone_model.batches) > 1
    assert all(max(batch) * len(batch) <= 2 * 8 * 16_000 for batch in tone_model.batches)
    assert all(t.rtf > 0 for t in found)


def test_results_come_as_soon_as_they_are_there(tone_model: Any, speak: Callable[..., Audio]) -> None:
    opened = []

    def sources() -> Iterator[Source]:
        for text in ("first", "second", "third"):
            opened.append(text)
            audio = np.concatenate([speak(text), np.zeros(25 * 16_000, np.float32)])
            yield Source(text, lambda audio=audio: iter([audio]))

    results = Recognizer(tone_model, batch_size=1).transcribe_many(sources())
    assert next(results).text == "first"
    assert opened != ["first", "second", "third"]


@pytest.mark.parametrize(
    ("audio", "warning"),
    [
        (np.zeros(0, np.float32), "no audio"),
        (np.zeros(16_000, np.float32), "silence"),
        (np.full(160, 0.001, np.float32), "nothing recognised"),  # 10 ms: shorter than any window of a model
    ],
)
def test_nothing_said_is_a_result(tone_model: Any, audio: Audio, warning: str) -> None:
    transcript = Recognizer(tone_model).transcribe(audio)
    assert (transcript.status, transcript.text, transcript.warnings) == ("empty", "", (warning,))
    assert transcript.error is None
    assert transcript.duration_seconds == pytest.approx(len(audio) / 16_000)


def test_other_rates_types_and_shapes(tone_model: Any, speak: Callable[..., Audio]) -> None:
    audio = speak("spoken", steps_per_token=6, pause_steps=4)
    recognizer = Recognizer(tone_model)
    assert recognizer.transcribe(np.repeat(audio, 3), rate_hz=48_000).text == "spoken"
    assert recognizer.transcribe((audio * 32768).astype(np.int16)).text == "spoken"
    with pytest.raises(ValueError, match=r"audio must be \(S,\), one channel, got \(2, 8\)"):
        recognizer.transcribe(np.zeros((2, 8), np.float32))


def test_files_bad_and_good(tone_model: Any, say_to: Callable[..., Path], tmp_path: Path) -> None:
    good = say_to("good.wav", "good")
    (tmp_path / "noise.wav").write_bytes(b"not audio at all" * 100)
    (tmp_path / "zero.wav").write_bytes(b"")
    soundfile.write(tmp_path / "header.wav", np.zeros(0), 16_000)
    names = ["good.wav", "noise.wav", "absent.wav", "zero.wav", "header.wav"]
    recognizer = Recognizer(tone_model)
    found = {t.file: t for t in recognizer.transcribe_many(file_source(tmp_path / n, name=n) for n in names)}
    assert {name: t.status for name, t in found.items()} == {
        "good.wav": "ok", "noise.wav": "failed", "absent.wav": "failed", "zero.wav": "empty", "header.wav": "empty",
    }  # fmt: skip
    assert found["absent.wav"].error is not None
    assert found["absent.wav"].error.kind == "missing"
    assert "noise.wav" in found["noise.wav"].to_dict()["error"]["message"]
    assert recognizer.transcribe(good).text == "good"
    with pytest.raises(MediaError, match=r"absent\.wav: does not exist"):
        recognizer.transcribe(tmp_path / "absent.wav")


def test_a_file_that_breaks_off_fails_alone(tone_model: Any, speak: Callable[..., Audio]) -> None:
    def broken() -> Iterator[Audio]:
        yield np.concatenate([speak("lost")] * 80)
        raise MediaError("b.wav", "damaged", kind="truncated")

    sources = [Source("a", lambda: [speak("kept")]), Source("b", broken), Source("c", lambda: [speak("too")])]
    found = list(Recognizer(tone_model).transcribe_many(sources))
    assert [(t.status, t.text) for t in found] == [("ok", "kept"), ("failed", ""), ("ok", "too")]
    with pytest.raises(MediaError, match="damaged"):
        list(Recognizer(tone_model).transcribe_many(sources, fail_fast=True))


def test_nan_is_a_failure_that_names_the_file(tone_model: Any, speak: Callable[..., Audio]) -> None:
    exact = tone_model.log_probs
    tone_model.log_probs = lambda audio: (exact(audio)[0] * float("nan"), exact(audio)[1])
    transcript = next(Recognizer(tone_model).transcribe_many([Source("x.wav", lambda: [speak("hi")])]))
    assert transcript.status == "failed"
    assert "x.wav: the model gave NaN" in transcript.to_dict()["error"]["message"]


def test_a_batch_that_does_not_fit_is_halved(tone_model: Any, speak: Callable[..., Audio]) -> None:
    exact = tone_model.log_probs

    def small_gpu(audio: list[Audio]) -> tuple[Tensor, Tensor]:
        if len(audio) > 1:
            raise torch.OutOfMemoryError("too much")
        result: tuple[Tensor, Tensor] = exact(audio)
        return result

    tone_model.log_probs = small_gpu
    sources = [Source(text, lambda text=text: [speak(text)]) for text in ("aa", "bb", "cc")]
    assert [t.text for t in Recognizer(tone_model).transcribe_many(sources)] == ["aa", "bb", "cc"]


def test_word_boundary() -> None:
    assert word_boundary(Vocabulary(("<blank>", "a", "b", "|"), "char")) == 3
    assert word_boundary(Vocabulary(("<blank>", "a", "b"), "char")) == -1
    assert word_boundary(Vocabulary(("<blank>", "A", "B"), "word")) is None


def test_memory_stays_flat_on_a_long_stream(tone_model: Any, speak: Callable[..., Audio]) -> None:
    """No window, passage or job holds on to audio that is done: at most a batch of it is alive."""
    alive = 0
    most = 0

    class Counted(np.ndarray[Any, Any]):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[Audio]:
        nonlocal alive, most
        for _ in range(200):
            chunk = speak("abc ").view(Counted)
            alive += 1
            most = max(most, alive)
            yield chunk

    transcript = Recognizer(tone_model, window_seconds=4, margin_seconds=0.5, batch_size=1).transcribe(stream())
    assert len(transcript.words) == 200
    assert most < 60
