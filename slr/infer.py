"""A trained recogniser in use: load a run folder, read a clip of any length, get glosses with times and confidences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave import bundle, ctc
from signwave.bundle import Bundle
from signwave.command import Failure, pick_device
from signwave.ctc import Clock, Hypothesis
from signwave.errors import ArtefactError, UserError
from signwave.inputs import STDIN, InputFile
from signwave.transcript import ModelName, Transcript, Word, split_at_pauses
from signwave.windows import Passages, Window, windows
from slr.decoded import Decoded, Posteriors
from slr.decoding import LM_FILE, Decoding, Spans, make_decoder
from slr.keypoints.hands import NoHandError
from slr.medium import ISOLATED_KIND, KINDS, PAUSE_SECONDS
from slr.model_loading import build_model, needs_of
from slr.models.interface import SignModel, first_edge_frames
from slr.sources import Source, open_source

_WINDOW_SECONDS: dict[str, float | None] = {
    "hands": None,
    "keypoints": 60.0,
    "features": 60.0,
    "frames": 16.0,
    "frames+keypoints": 16.0,
}
"""The longest stretch that a model sees at once, by what it reads; None = the whole clip."""
_MARGIN_SECONDS = 2.0
"""At each inner edge of a window, where a model looks as far as its clip is long."""
_PASSAGE_SECONDS = 60.0
PICTURE_SECONDS = 120.0
"""Posteriors are kept for a picture up to here."""


class Recognizer:
    """A model that names signs.

    >>> recognizer = Recognizer.load("runs/fingerspelling_ctc")      # doctest: +SKIP
    >>> recognizer("hello.pose").text                                # doctest: +SKIP
    'H E L L O'

    Args:
        stored: a bundle of a kind in `slr.medium.KINDS`.
        device: cpu, cuda or cuda:N.
        decoding: greedy or beam, with which language model.
        spans: "alignment": the steps that the best path gives a gloss; "grown": widened by `slr.decoding.grow`.
        window_seconds: the longest stretch the model sees at once; None = by what it reads.
        keep_posteriors: keep the last clip's, for its picture.

    Raises:
        ArtefactError: the bundle holds another kind of model, or lacks a part.
        UserError: the decoding contradicts itself, or the window is too short for the model.
    """

    def __init__(
        self,
        stored: Bundle,
        *,
        device: str = "cpu",
        decoding: Decoding | None = None,
        spans: Spans = "alignment",
        window_seconds: float | None = None,
        keep_posteriors: bool = False,
    ) -> None:
        if stored.kind not in KINDS:
            known = ", ".join(KINDS)
            if stored.kind == ISOLATED_KIND:
                raise ArtefactError(
                    f"{stored.folder}: names single signs, not the signs of a sentence; use `slr islr --model`, or "
                    "name a run that was trained on sentences"
                )
            raise ArtefactError(
                f"{stored.folder}: a model of kind '{stored.kind}', not one of {known}; name another run"
            )
        if stored.vocabulary is None or "rate_hz" not in stored.info:
            raise ArtefactError(f"{stored.folder}: has no vocabulary or no rate_hz; export the model again")
        if spans not in get_args(Spans):
            raise UserError(f"--spans {spans}: unknown; allowed are {', '.join(get_args(Spans))}")
        self.vocabulary = stored.vocabulary
        self.rate_hz = float(stored.info["rate_hz"])
        self.name = ModelName(str(stored.info.get("name", stored.kind)), stored.digest)
        self.device = device
        self.spans = spans
        self.keep_posteriors = keep_posteriors
        self.last: Posteriors | None = None
        """What the model saw in the last clip, where they are kept and the clip could be read."""
        module = build_model(stored).to(device).eval()
        self.model = cast(SignModel, module)
        self.needs = needs_of(stored, module, self.rate_hz)
        self.stride = int(self.model.stride)
        stored_lm = stored.folder / LM_FILE if LM_FILE in stored.files else None
        self.decode, self.searches = make_decoder(
            self.vocabulary, decoding or Decoding(), settings=stored.info.get("decoder", {}), stored_lm=stored_lm
        )
        self._num_best = (decoding or Decoding()).num_best
        self._margin_steps, self._window_steps = self._window(window_seconds)

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", **options: Any) -> Recognizer:
        """Open a run folder or a bundle folder on auto, cpu, cuda or cuda:N; options as for the constructor."""
        return cls(bundle.load(path), device=pick_device(device), **options)

    def __call__(
        self,
        path: str | Path,
        *,
        start_seconds: float = 0.0,
        end_seconds: float | None = None,
        poses_path: str = "",
    ) -> Transcript:
        """Recognise a clip, or a span of it; times are those of the file.

        Args:
            path: a video (file, folder of pictures, archive member) or a `.pose` file, as the model reads.
            start_seconds: first instant.
            end_seconds: instant to stop before.
            poses_path: keypoints of a video; "" takes the `.pose` file of its name beside it.

        Raises:
            MediaError: the file can't be used, or isn't what this model reads.
            ArtefactError: the model gives NaN.
        """
        started = time.perf_counter()
        self.last = None
        span: dict[str, Any] = {"start_seconds": start_seconds, "end_seconds": end_seconds}
        try:
            source = open_source(path, self.needs, poses_path=poses_path, **span)
        except NoHandError as error:
            return Transcript(
                file=str(path),
                status="empty",
                duration_seconds=error.duration_seconds,
                model=self.name,
                warnings=(error.reason,),
            )
        found = self._find(source, str(path))
        glosses = self.words(found.hypothesis, self.clock(start_seconds, source.duration_seconds))
        self._keep(found, start_seconds, str(path))
        return self.transcript(
            str(path),
            glosses,
            duration_seconds=source.duration_seconds,
            seconds_spent=time.perf_counter() - started,
            warnings=source.warnings,
            details={"n_best": self._n_best(found, start_seconds)} if self._num_best > 1 else {},
        )

    def transcribe_files(self, files: Iterable[InputFile], *, fail_fast: bool = False) -> Iterator[Transcript]:
        """Recognise files one after the other.

        Args:
            files: the inputs; read as results are asked for.
            fail_fast: raise the error of a file that can't be used, instead of yielding a transcript of status
                "failed" and going on.
        """
        for file in files:
            # A pipe has no suffix: what comes to a model of poses are poses.
            poses_path = file.path if file.name == STDIN and "frames" not in self.needs.reads else ""
            yield self.guarded(file, partial(self, poses_path=poses_path), fail_fast=fail_fast)

    def picture(self, transcript: Transcript) -> bytes:
        """The PNG of the clip that was recognised last (`keep_posteriors`): posteriors, glosses, thumbnails."""
        from slr.picture import draw

        return draw(transcript, self.last, self.vocabulary.tokens)

    def guarded(self, file: InputFile, recognise: Callable[[str], Transcript], *, fail_fast: bool) -> Transcript:
        """The transcript of a file under its own name; an error becomes one of status "failed" unless `fail_fast`."""
        try:
            transcript = recognise(file.path)
        except UserError as error:
            if fail_fast:
                raise
            self.last = None
            transcript = Transcript(status="failed", model=self.name, error=Failure.of(file.name, error))
        return replace(transcript, file=file.name, sha256=file.sha256)

    def log_probs(self, window: Window, points: NDArray[np.float32] | None = None, *, name: str = "") -> Tensor:
        """The steps that a window decides.

        Args:
            window: frames of a clip.
            points: (T, 63, 3) float32, keypoints of the whole clip, where the model reads both.
            name: of the clip, for messages.

        Returns:
            (T', V) float32, natural log, on the CPU.

        Raises:
            ArtefactError: the model gives NaN.
            UserError: the window doesn't fit the GPU.
        """
        size = len(window.samples)
        inputs = torch.from_numpy(np.ascontiguousarray(window.samples))[None].to(self.device)
        options: dict[str, Tensor] = {}
        if "keypoints" in self.needs.reads and "frames" in self.needs.reads:
            if inputs.ndim == 4:  # (1, T, 63, 3): keypoints came without frames
                options["points"], inputs = inputs, inputs.new_zeros((1, size, 3, 0, 0), dtype=torch.uint8)
            elif points is not None:
                first = window.first_step * self.stride
                options["points"] = torch.from_numpy(_rows(points, first, size))[None].to(self.device)
        try:
            with torch.inference_mode():
                found = self.model(inputs, torch.tensor([size], device=self.device), **options)
        except torch.OutOfMemoryError as error:
            shorter = size / self.rate_hz / 2
            raise UserError(
                f"{name}: {size} frames at once don't fit the GPU; give --window-seconds {shorter:.0f}, or --device cpu"
            ) from error
        kept = window.middle(found.log_probs[0], int(found.num_steps[0])).float().cpu()
        if window.keep_to is not None and len(kept) < window.keep_to - window.keep_from:
            raise UserError(f"{name}: the model leaves out the last steps of a window; give longer --lookahead-seconds")
        if bool(kept.isnan().any()):
            raise ArtefactError(f"{name}: the model gave NaN; train it again or use --device cpu")
        return kept

    def clock(self, offset_seconds: float, duration_seconds: float | None) -> Clock:
        """Turns steps of a clip that starts at `offset_seconds` into seconds of its file."""
        return Clock(
            stride_seconds=self.stride / self.rate_hz,
            offset_seconds=offset_seconds + first_edge_frames(self.model, self.stride) / self.rate_hz,
            start_seconds=offset_seconds,
            end_seconds=None if duration_seconds is None else offset_seconds + duration_seconds,
        )

    def words(self, found: Hypothesis, clock: Clock) -> tuple[Word, ...]:
        """The glosses of a hypothesis."""
        return tuple(ctc.words(found, tokens=self.vocabulary.tokens, clock=clock))

    def transcript(
        self,
        name: str,
        glosses: tuple[Word, ...],
        *,
        duration_seconds: float,
        seconds_spent: float,
        warnings: tuple[str, ...],
        details: dict[str, Any],
    ) -> Transcript:
        """The record of a clip."""
        return Transcript(
            file=name,
            status="ok" if glosses else "empty",
            segments=split_at_pauses(glosses, pause_seconds=PAUSE_SECONDS),
            duration_seconds=duration_seconds,
            rtf=seconds_spent / duration_seconds if duration_seconds else 0.0,
            model=self.name,
            warnings=warnings,
            details=details,
        )

    def posteriors(self, path: str | Path) -> Tensor:
        """(T', V) float32, natural log probabilities of a whole clip on the CPU; see `__call__`."""
        source = open_source(path, self.needs)
        return torch.cat([self.log_probs(window, source.points, name=str(path)) for window in self._cut(source)])

    def _find(self, source: Source, name: str) -> Decoded:
        stride_seconds = self.stride / self.rate_hz
        passages = Passages(max_steps=max(2, round(_PASSAGE_SECONDS / stride_seconds)))
        found = Decoded(grown=self.spans == "grown", kept_steps=round(PICTURE_SECONDS / stride_seconds))
        for window in self._cut(source):
            steps = self.log_probs(window, source.points, name=name)
            if self.keep_posteriors:
                found.keep(steps)
            found.take(passages.add(steps), self.decode)
        found.take(passages.finish(), self.decode)
        return found

    def _cut(self, source: Source) -> Iterator[Window]:
        if self._window_steps is None:
            yield Window(np.concatenate(list(source.chunks)), 0, 0, None)
            return
        yield from windows(
            source.chunks,
            window_steps=self._window_steps,
            margin_steps=self._margin_steps,
            samples_per_step=self.stride,
        )

    def _window(self, window_seconds: float | None) -> tuple[int, int | None]:
        """Margin and window in steps; the margin covers what the model sees, where that has an end."""
        steps_per_second = self.rate_hz / self.stride
        radius = self.receptive_radius_frames
        margin = round(_MARGIN_SECONDS * steps_per_second) if radius is None else -(-radius // self.stride) + 1
        seconds = window_seconds if window_seconds is not None else _WINDOW_SECONDS[self.needs.reads]
        if seconds is None:
            return margin, None
        least = (2 * margin + 1) / steps_per_second
        if window_seconds is not None and window_seconds < least:
            raise UserError(f"--window-seconds {window_seconds:g}: this model needs at least {least:.2f}")
        return margin, max(round(seconds * steps_per_second), 4 * margin if window_seconds is None else 2 * margin + 1)

    @property
    def receptive_radius_frames(self) -> int | None:
        """Frames to either side that can change a step; None = the whole clip."""
        radius = getattr(self.model, "receptive_radius_frames", None)
        return None if radius is None else int(radius)

    def _keep(self, found: Decoded, offset_seconds: float, path: str) -> None:
        if self.keep_posteriors and found.kept:
            stride_seconds = self.stride / self.rate_hz
            first = self.clock(offset_seconds, None).offset_seconds
            self.last = Posteriors(np.exp(np.concatenate(found.kept)), first, stride_seconds, path)

    def _n_best(self, found: Decoded, offset_seconds: float) -> list[dict[str, Any]]:
        clock = self.clock(offset_seconds, None)
        return [
            {
                "start": round(clock.seconds(first), 3),
                "end": round(clock.seconds(end), 3),
                "hypotheses": [
                    {"text": self.vocabulary.decode(one.tokens), "score": round(one.score, 4)}
                    | ({"lm_score": round(one.lm_score, 4)} if one.lm_score else {})
                    for one in best
                ],
            }
            for first, end, best in found.n_best
        ]


def _rows(points: NDArray[np.float32], first: int, size: int) -> NDArray[np.float32]:
    """`size` rows from `first` on, the last one repeated: files of one clip often differ by a frame or two."""
    return points[np.minimum(np.arange(first, first + size), len(points) - 1)]
