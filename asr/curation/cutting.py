"""From probabilities of speech to segments that begin and end in pauses, and to blocks that fit into memory.

Spans are half-open, in frames of 32 ms.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from asr.curation.settings import MeasureSettings
from asr.curation.voice import FRAME_SAMPLES, FRAME_SECONDS, Floats, VoiceDetector

BLOCK_SECONDS = 300.0
MAX_BLOCK_SECONDS = 1200.0
"""Speech (or what is taken for it) without a pause is cut here: 77 MB."""
_HYSTERESIS = 0.15

Span = tuple[int, int]


class Block(NamedTuple):
    """A stretch of a recording that begins and ends in a pause, so that it can be cut without the rest.

    start_frame: in the recording.
    samples: (S,) float32, 16 kHz mono.
    probabilities: (T,) float32 of speech, T = ceil(S / 512).
    """

    start_frame: int
    samples: Floats
    probabilities: Floats


def blocks(chunks: Iterable[Floats], detector: VoiceDetector, settings: MeasureSettings) -> Iterator[Block]:
    """Read a recording of any length, holding some minutes of it.

    Cutting block by block gives what cutting the entire recording gives, as long as a pause comes every 20 minutes.

    Args:
        chunks: consecutive stretches (S,) float32, 16 kHz mono.
        detector: is reset first.
        settings: say what a pause is.
    """
    detector.reset()
    start, samples, probabilities = 0, np.zeros(0, np.float32), np.zeros(0, np.float32)
    limit = BLOCK_SECONDS
    for chunk in chunks:
        samples = np.concatenate([samples, chunk])
        probabilities = _judged(detector, samples, probabilities)
        seconds = len(probabilities) * FRAME_SECONDS
        if seconds < limit:
            continue
        cut = len(probabilities) if seconds >= MAX_BLOCK_SECONDS else _last_pause(probabilities, settings)
        limit = BLOCK_SECONDS if cut else seconds + BLOCK_SECONDS / 4  # looking again at every chunk would take long
        if cut:
            yield Block(start, samples[: cut * FRAME_SAMPLES], probabilities[:cut])
            start, samples, probabilities = start + cut, samples[cut * FRAME_SAMPLES :].copy(), probabilities[cut:]
    if len(samples):
        padded = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
        yield Block(start, samples, _judged(detector, padded, probabilities))


def _judged(detector: VoiceDetector, samples: Floats, probabilities: Floats) -> Floats:
    """Probabilities, completed by those of the frames that are new."""
    whole = len(samples) // FRAME_SAMPLES
    new = samples[len(probabilities) * FRAME_SAMPLES : whole * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    return np.concatenate([probabilities, detector.probabilities(new)])


def _last_pause(probabilities: Floats, settings: MeasureSettings) -> int:
    """The middle of the last long pause between two stretches of speech, or before the end; 0 if there is none."""
    edges = [(0, 0), *speech_spans(probabilities, settings, min_speech_seconds=0), (len(probabilities),) * 2]
    for before, after in reversed(list(itertools.pairwise(edges))):
        if after[0] - before[1] >= _frames(settings.pause_seconds) and before[1]:
            return (before[1] + after[0]) // 2
    is_silent = len(edges) == 2
    return len(probabilities) if is_silent else 0


def speech_spans(
    probabilities: Floats, settings: MeasureSettings, *, min_speech_seconds: float | None = None
) -> list[Span]:
    """Stretches of speech, by silero's rule: they start at the threshold and end where it stays 0.15 below it.

    Args:
        probabilities: (T,) float32.
        settings: the threshold and the shortest speech and silence.
        min_speech_seconds: instead of that of the settings.
    """
    shortest = settings.min_speech_seconds if min_speech_seconds is None else min_speech_seconds
    high, low = settings.voice_threshold, max(settings.voice_threshold - _HYSTERESIS, 0.01)
    found, start, silence = [], -1, -1
    for frame, probability in enumerate(probabilities.tolist()):
        if probability >= high:
            start, silence = (frame if start < 0 else start), -1
        elif probability < low and start >= 0:
            silence = frame if silence < 0 else silence
            if (frame - silence) * FRAME_SECONDS >= settings.min_silence_seconds:
                found.append((start, silence))
                start, silence = -1, -1
    if start >= 0:
        found.append((start, len(probabilities)))
    return [(begin, end) for begin, end in found if (end - begin) * FRAME_SECONDS > shortest]


def segments(probabilities: Floats, settings: MeasureSettings) -> list[Span]:
    """Cut at pauses into pieces of at most `max_seconds`, as long as pauses under `pause_seconds` allow.

    Where speech goes on for longer than `max_seconds`, the cut is made in the longest pause of the later half, else
    where speech is least likely. Speech between two long pauses may be shorter than `min_seconds`.
    """
    spans = [
        piece
        for group in _groups(speech_spans(probabilities, settings), _frames(settings.pause_seconds))
        for piece in _pieces(group, probabilities, settings)
    ]
    return _padded(spans, len(probabilities), _frames(settings.pad_seconds))


def _frames(seconds: float) -> int:
    return round(seconds / FRAME_SECONDS)


def _groups(spans: Sequence[Span], pause: int) -> Iterator[list[Span]]:
    group: list[Span] = []
    for span in spans:
        if group and span[0] - group[-1][1] >= pause:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def _pieces(group: list[Span], probabilities: Floats, settings: MeasureSettings) -> Iterator[Span]:
    longest, shortest = _frames(settings.max_seconds - 2 * settings.pad_seconds), _frames(settings.min_seconds)
    start, end = group[0][0], group[-1][1]
    pauses = [(before[1], after[0]) for before, after in itertools.pairwise(group)]
    while end - start > longest:
        low, high = start + shortest, min(start + longest, end - shortest)
        late = [pause for pause in pauses if start + longest // 2 <= pause[0] <= high]
        possible = late or [pause for pause in pauses if low <= pause[0] <= high]
        if possible:
            stop, following = max(possible, key=lambda pause: pause[1] - pause[0])
        else:
            first = max(start + 1, min(start + longest // 2, high))
            stop = following = first + int(probabilities[first : max(first, high) + 1].argmin())
        yield start, stop
        start = following
    yield start, end


def _padded(spans: Sequence[Span], num_frames: int, pad: int) -> list[Span]:
    """Wider by up to `pad` frames, but at most to the middle of the pause."""
    if not spans:
        return []
    starts = [span[0] for span in spans]
    ends = [span[1] for span in spans]
    middles = [0, *((end + start) // 2 for end, start in zip(ends, starts[1:], strict=False)), num_frames]
    return [
        (max(low, start - pad), min(high, end + pad))
        for start, end, (low, high) in zip(starts, ends, itertools.pairwise(middles), strict=True)
    ]
