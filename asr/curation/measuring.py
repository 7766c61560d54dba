"""Measure one recording: a callable over rows of plain values, so that it runs in a loop, in processes and on Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from asr.curation.cutting import Block, blocks, segments
from asr.curation.hooks import call_hook
from asr.curation.settings import MeasureSettings, VoiceKind
from asr.curation.sound_scores import sound_scores
from asr.curation.voice import FRAME_SAMPLES, FRAME_SECONDS, Floats, VoiceDetector, load_voice_detector
from asr.features import SAMPLE_RATE_HZ
from asr.sources import file_source
from signwave.command import Failure
from signwave.errors import UserError

_AROUND_FRAMES = round(1.0 / FRAME_SECONDS)

Row = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """Turns `{"path", …}` into the same row with what was found in that file; constant memory at any length.

    A row that comes back holds, beside what was given:
        seconds: length of the recording.
        segments: a list of `{"start_seconds", "end_seconds", scores …}`, in order of time, half-open.
        failure: None, or `{"kind", "message"}` where the file can't be used; then there are no segments.

    Scores are those of `SoundScores`, and what the hooks say as `language` (by code) and `kind` (by name). All values
    are JSON's, numbers have four decimals.
    """

    settings: MeasureSettings = field(default_factory=MeasureSettings)

    def __call__(self, row: Row) -> Row:
        """Measure one file; what is wrong with it is told in the row."""
        try:
            return {**row, **self._found(row["path"]), "failure": None}
        except UserError as error:
            failure = Failure.of(str(row["path"]), error)
            told = {"kind": failure.kind, "message": failure.message}
            return {**row, "seconds": 0.0, "segments": [], "failure": told}

    def _found(self, path: str | Path) -> Row:
        num_samples = 0

        def chunks() -> Iterator[Floats]:
            nonlocal num_samples
            for chunk in file_source(path).chunks():
                num_samples += len(chunk)
                yield chunk

        found: list[Row] = []
        for block in blocks(chunks(), _detector(self.settings.voice), self.settings):
            found += self._segments(block)
        return {"seconds": round(num_samples / SAMPLE_RATE_HZ, 4), "segments": found}

    def _segments(self, block: Block) -> Iterator[Row]:
        for start, end in segments(block.probabilities, self.settings):
            samples = block.samples[start * FRAME_SAMPLES : end * FRAME_SAMPLES]
            around = block.samples[
                max(0, start - _AROUND_FRAMES) * FRAME_SAMPLES : (end + _AROUND_FRAMES) * FRAME_SAMPLES
            ]
            scores = sound_scores(
                samples, block.probabilities[start:end], around, threshold=self.settings.voice_threshold
            )
            first = (block.start_frame + start) * FRAME_SECONDS
            row: Row = {
                "start_seconds": round(first, 4),
                "end_seconds": round(first + len(samples) / SAMPLE_RATE_HZ, 4),
                **{name: round(value, 4) for name, value in scores._asdict().items()},
            }
            if self.settings.language_id:
                row["language"] = call_hook(self.settings.language_id, np.array(samples), SAMPLE_RATE_HZ)
            if self.settings.sound_kind:
                row["kind"] = call_hook(self.settings.sound_kind, np.array(samples), SAMPLE_RATE_HZ)
            yield row


@lru_cache(maxsize=2)
def _detector(kind: VoiceKind) -> VoiceDetector:
    return load_voice_detector(kind)
