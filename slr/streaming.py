"""Recognition while a video runs: a window slides over the frames, and glosses come out as they become final.

Each window decides `hop` seconds of steps, which lie `lookahead` seconds before its end; what it holds before them is
context. A decided step never changes. A gloss is final when a decided step follows that no longer belongs to it (with
a beam: at the next rest). The algorithmic latency of a step is the time from the moment it stands for to the moment
when the last frame it waits for has come: `lookahead` for the last step of a hop, `lookahead + hop` for the first, and
so `lookahead + hop / 2` in the middle; a gloss waits one stride longer. Computing comes on top (see `rtf`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from signwave.ctc import BLANK, Clock, Hypothesis
from signwave.errors import UserError
from signwave.inputs import STDIN, InputFile
from signwave.transcript import Transcript, Word
from signwave.windows import Window, sliding
from slr.decoding import Decode
from slr.infer import Recognizer
from slr.keypoints.hands import NoHandError
from slr.sources import Source, live_source, open_source

_CHUNK_FRAMES = 4  # of a file, read ahead of the window
_REST_SECONDS = 0.5
"""With a beam, glosses are decided at rests this long: steps that are all blank."""
_MAX_PASSAGE_SECONDS = 30.0
"""With a beam, what is decided at the latest without any rest."""


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """How the window slides, in seconds.

    Attributes:
        window_seconds: the longest stretch the model sees.
        hop_seconds: what each window decides; a shorter one answers sooner and computes more.
        lookahead_seconds: what the model sees after that.
    """

    window_seconds: float = 4.0
    hop_seconds: float = 0.5
    lookahead_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not (self.window_seconds > 0 and self.hop_seconds > 0 and self.lookahead_seconds >= 0):
            raise UserError(
                f"--window-seconds {self.window_seconds:g}, --hop-seconds {self.hop_seconds:g} and --lookahead-seconds "
                f"{self.lookahead_seconds:g}: the first two must be above 0, the third at least 0"
            )
        if self.window_seconds > 600:
            raise UserError(f"--window-seconds {self.window_seconds:g}: a window is at most 600 s long")


class Latency(NamedTuple):
    """Algorithmic latency of a gloss, computing left out; see the module."""

    mean_seconds: float
    max_seconds: float


class StreamRecognizer:
    """A recogniser that reads on while it answers.

    Args:
        recognizer: the model.
        settings: the window.
        on_word: called with each gloss as soon as it is final.

    Raises:
        UserError: the window is too short for hop and look-ahead at the model's stride.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        settings: Sliding | None = None,
        on_word: Callable[[Word], None] | None = None,
    ) -> None:
        self.recognizer = recognizer
        self.name = recognizer.name
        self.settings = settings or Sliding()
        self.on_word = on_word
        steps_per_second = recognizer.rate_hz / recognizer.stride
        self.window_steps = max(1, round(self.settings.window_seconds * steps_per_second))
        self.hop_steps = max(1, round(self.settings.hop_seconds * steps_per_second))
        self.lookahead_steps = round(self.settings.lookahead_seconds * steps_per_second)
        if self.hop_steps + self.lookahead_steps > self.window_steps:
            least = (self.hop_steps + self.lookahead_steps) / steps_per_second
            raise UserError(
                f"--window-seconds {self.settings.window_seconds:g}: must hold hop and look-ahead, {least:.2f} s; "
                "give a longer window, or a shorter --lookahead-seconds"
            )

    @property
    def latency(self) -> Latency:
        """How long after the event a gloss is final, before any computing."""
        stride = self.recognizer.stride / self.recognizer.rate_hz
        lookahead, hop = self.lookahead_steps * stride, self.hop_steps * stride
        return Latency(lookahead + hop / 2 + stride, lookahead + hop + stride)

    @property
    def is_exact(self) -> bool:
        """Whether the steps equal those of one pass over the whole clip: the model sees no further than the window."""
        radius = self.recognizer.receptive_radius_frames
        context = min(self.lookahead_steps, self.window_steps - self.hop_steps - self.lookahead_steps)
        return radius is not None and radius <= context * self.recognizer.stride

    def __call__(self, path: str | Path) -> Transcript:
        """Recognise a file as if it came frame by frame; `-` reads a video from stdin.

        Raises:
            MediaError: it can't be used, or isn't what this model reads.
        """
        started = time.perf_counter()
        try:
            source = self._open(path)
        except NoHandError as error:
            return self.recognizer.transcript(
                str(path), (), duration_seconds=error.duration_seconds, seconds_spent=0.0, warnings=(error.reason,),
                details={"stream": self._details()},
            )  # fmt: skip
        glosses = tuple(self.words(source, name=str(path)))
        return self.recognizer.transcript(
            str(path),
            glosses,
            duration_seconds=source.duration_seconds,
            seconds_spent=time.perf_counter() - started,
            warnings=source.warnings,
            details={"stream": self._details()},
        )

    def transcribe_files(self, files: Iterable[InputFile], *, fail_fast: bool = False) -> Iterator[Transcript]:
        """Recognise streams one after the other; see `Recognizer.transcribe_files`."""
        for file in files:
            yield self.recognizer.guarded(file, partial(self), fail_fast=fail_fast)

    def words(self, source: Source, *, name: str = "") -> Iterator[Word]:
        """Yield the glosses of a stream as they become final; `on_word` is called with each as well."""
        rest_steps = max(1, round(_REST_SECONDS * self.recognizer.rate_hz / self.recognizer.stride))
        max_steps = max(2, round(_MAX_PASSAGE_SECONDS * self.recognizer.rate_hz / self.recognizer.stride))
        decoder: _Online = OnlineGreedy()
        if self.recognizer.searches:
            decoder = OnlineBeam(self.recognizer.decode, rest_steps=rest_steps, max_steps=max_steps)
        for log_probs in self.steps(source, name=name):
            yield from self._told(decoder.push(log_probs), self.recognizer.clock(0.0, None))
        yield from self._told(decoder.finish(), self.recognizer.clock(0.0, source.duration_seconds))

    def steps(self, source: Source, *, name: str = "") -> Iterator[Tensor]:
        """Yield (T', V) float32 natural log probabilities, consecutive, each as soon as it is decided."""
        for window in self._windows(source):
            yield self.recognizer.log_probs(window, source.points, name=name)

    def _windows(self, source: Source) -> Iterator[Window]:
        return sliding(
            source.chunks,
            window_steps=self.window_steps,
            hop_steps=self.hop_steps,
            lookahead_steps=self.lookahead_steps,
            samples_per_step=self.recognizer.stride,
        )

    def _open(self, path: str | Path) -> Source:
        needs = self.recognizer.needs
        if str(path) != STDIN:
            return open_source(path, needs, chunk_frames=_CHUNK_FRAMES)
        if "frames" not in needs.reads:
            raise UserError(
                f"-: a stream from stdin must be a video, and this model reads {needs.reads}; give a .pose file, or "
                "leave --stream out"
            )
        return live_source(sys.stdin.buffer, needs)

    def _told(self, found: Hypothesis, clock: Clock) -> Iterator[Word]:
        for word in self.recognizer.words(found, clock):
            if self.on_word is not None:
                self.on_word(word)
            yield word

    def _details(self) -> dict[str, Any]:
        stride = self.recognizer.stride / self.recognizer.rate_hz
        return {
            "window": round(self.window_steps * stride, 3),
            "hop": round(self.hop_steps * stride, 3),
            "lookahead": round(self.lookahead_steps * stride, 3),
            "latency_mean": round(self.latency.mean_seconds, 3),
            "latency_max": round(self.latency.max_seconds, 3),
            "exact": self.is_exact,
        }


def disagreement(stream: StreamRecognizer, path: str | Path) -> float:
    """Share of steps whose best token differs between the stream and one pass over the whole clip, in [0, 1]."""
    whole = stream.recognizer.posteriors(path).argmax(-1)
    chunked = torch.cat(list(stream.steps(open_source(path, stream.recognizer.needs)))).argmax(-1)
    return float((whole != chunked).float().mean())


class _Online(Protocol):
    """A decoder that gives what is final; steps are counted from the start of the stream."""

    def push(self, log_probs: Tensor) -> Hypothesis:
        """Take the next (T, V) steps."""

    def finish(self) -> Hypothesis:
        """The rest."""


class OnlineGreedy:
    """The best token of each step; a token is final when another step follows that isn't it.

    What comes out in all equals `signwave.ctc.greedy` over the whole.
    """

    def __init__(self) -> None:
        self._token, self._start, self._sum, self._num_steps = BLANK, 0, 0.0, 0

    def push(self, log_probs: Tensor) -> Hypothesis:
        """Take the next (T, V) float32 steps and return the tokens that have ended."""
        best, path = log_probs.max(-1)
        ended: list[tuple[int, int, int, float]] = []
        for token, probability in zip(path.tolist(), best.exp().tolist(), strict=True):
            if token != self._token:
                ended += self._end()
                self._token, self._start, self._sum = token, self._num_steps, 0.0
            self._sum += probability
            self._num_steps += 1
        return _hypothesis(ended)

    def finish(self) -> Hypothesis:
        """The token that the stream ended in."""
        ended = self._end()
        self._token = BLANK
        return _hypothesis(ended)

    def _end(self) -> list[tuple[int, int, int, float]]:
        if self._token == BLANK:
            return []
        mean = min(1.0, self._sum / (self._num_steps - self._start))
        return [(self._token, self._start, self._num_steps, mean)]


class OnlineBeam:
    """A beam search over what lies between two rests.

    Args:
        decode: the search.
        rest_steps: blank steps in a row that are a rest.
        max_steps: what is decoded at the latest.
    """

    def __init__(self, decode: Decode, *, rest_steps: int, max_steps: int) -> None:
        self._decode, self._rest_steps, self._max_steps = decode, rest_steps, max_steps
        self._held: Tensor | None = None
        self._first_step = 0

    def push(self, log_probs: Tensor) -> Hypothesis:
        """Take the next (T, V) float32 steps and return the tokens up to the last rest."""
        self._held = log_probs if self._held is None else torch.cat([self._held, log_probs])
        cut = self._cut(self._held)
        if not cut:
            return _hypothesis([])
        passage, self._held = self._held[:cut], self._held[cut:]
        found = self._found(passage)
        self._first_step += cut
        return found

    def finish(self) -> Hypothesis:
        """The tokens after the last rest."""
        held, self._held = self._held, None
        return _hypothesis([]) if held is None or not len(held) else self._found(held)

    def _cut(self, held: Tensor) -> int:
        """Steps that can be decided: up to the middle of the last rest, or all where it has become too much."""
        is_blank = (held.argmax(-1) == BLANK).numpy()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], is_blank.astype(np.int8), [0]])))
        rests = [(start, end) for start, end in edges.reshape(-1, 2).tolist() if end - start >= self._rest_steps]
        if rests and rests[-1][0] > 0:
            return int(rests[-1][0] + self._rest_steps // 2) or 1
        return len(held) if len(held) >= self._max_steps else 0

    def _found(self, passage: Tensor) -> Hypothesis:
        best = self._decode(passage[None], torch.tensor([len(passage)]))[0][0]
        shifted = [(start + self._first_step, end + self._first_step) for start, end in best.steps]
        return Hypothesis(best.tokens, best.score, tuple(shifted), best.confidences)


def _hypothesis(ended: list[tuple[int, int, int, float]]) -> Hypothesis:
    return Hypothesis(
        tokens=tuple(token for token, _, _, _ in ended),
        score=0.0,
        steps=tuple((start, end) for _, start, end, _ in ended),
        confidences=tuple(mean for _, _, _, mean in ended),
    )
