"""From a sentence to movement: strokes one after the other, transitions between them, rest at both ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from made_up_signers.language import ANGLE, CLOSED, NUM_HAND_PARAMETERS, PLACE, FloatArray, Sign
from made_up_signers.signers import Signer

REST = np.asarray([0.30, 1.25, 0.35, -60.0, 0.3, 0.35, 0.35, 0.35, 0.35, 0.1])
_PULL = 0.15  # share of the way by which a stroke's ends are drawn towards its neighbours
_SMOOTHING_SECONDS = 0.03


class Span(NamedTuple):
    """Frames [start, end) of one sign, without the transitions to its neighbours."""

    gloss: str
    start_frame: int
    end_frame: int


class Motion(NamedTuple):
    """Movement of one clip.

    hands: (T, 2, 10) float64, parameters of the leading and of the other hand, see made_up_signers.language.
    mouth: (T,) float64, opening, 0 to 1.
    """

    hands: FloatArray
    mouth: FloatArray
    spans: list[Span]


@dataclass
class _Track:
    """Frames so far."""

    hands: list[FloatArray] = field(default_factory=list)
    mouth: list[FloatArray] = field(default_factory=list)

    def add(self, hands: FloatArray, mouth: FloatArray) -> None:
        self.hands.append(hands)
        self.mouth.append(mouth)

    def __len__(self) -> int:
        return sum(len(piece) for piece in self.hands)

    def hold(self, num_frames: int) -> None:
        """Stay as at the end."""
        self.add(np.repeat(self.hands[-1][-1:], num_frames, axis=0), np.zeros(num_frames))

    def move_to(self, hands: FloatArray, mouth: float, num_frames: int) -> None:
        """Go to (2, 10) parameters on a minimum-jerk way that stops short of them by one step."""
        share = np.arange(1, num_frames + 1) / (num_frames + 1)
        share = share**3 * (10 - 15 * share + 6 * share**2)
        before, mouth_before = self.hands[-1][-1], self.mouth[-1][-1]
        way = before + share[:, None, None] * (hands - before)
        # A hand that is carried to another place bends outwards a little instead of cutting straight through.
        far = np.linalg.norm(hands[:, PLACE] - before[:, PLACE], axis=1)
        way[:, :, 2] += 0.12 * np.sin(np.pi * share)[:, None] * np.minimum(far, 1.0)
        self.add(way, mouth_before + share * (mouth - mouth_before))


def perform(sentence: list[Sign], signer: Signer, *, fps: float, rng: np.random.Generator) -> Motion:
    """Let a signer sign a sentence.

    Args:
        sentence: signs in order.
        signer: who.
        fps: frames per second.
        rng: what differs from one performance to the next.
    """

    def frames(low_seconds: float, high_seconds: float) -> int:
        return max(1, round(float(rng.uniform(low_seconds, high_seconds)) * fps / signer.speed))

    rest = np.stack([REST, REST])
    rest[:, PLACE] += rng.normal(0, 0.03, (2, 3))
    strokes = [_stroke(sign, signer, rest, fps, rng) for sign in sentence]
    _coarticulate(strokes)
    track = _Track()
    track.add(rest[None], np.zeros(1))
    track.hold(frames(0.12, 0.4))
    spans = []
    for sign, stroke in zip(sentence, strokes, strict=True):
        track.move_to(stroke[0], sign.mouth, frames(0.16, 0.3))
        begin = len(track)
        track.add(stroke, np.full(len(stroke), sign.mouth))
        spans.append(Span(sign.gloss, begin, len(track)))
    track.hold(frames(0.04, 0.12))
    track.move_to(rest, 0.0, frames(0.24, 0.36))
    track.hold(frames(0.12, 0.4))
    hands, mouth = np.concatenate(track.hands), np.concatenate(track.mouth)
    return Motion(_smooth(hands, _SMOOTHING_SECONDS * fps), _smooth(mouth, _SMOOTHING_SECONDS * fps), spans)


def _stroke(sign: Sign, signer: Signer, rest: FloatArray, fps: float, rng: np.random.Generator) -> FloatArray:
    """One performance of one sign: (N, 2, 10)."""
    num_frames = max(5, round(sign.seconds * float(rng.uniform(0.88, 1.12)) * fps / signer.speed))
    phase = np.linspace(0, 1, num_frames)
    phase = 0.6 * phase + 0.4 * phase**2 * (3 - 2 * phase)  # slower at both ends, without coming to a halt
    leading = _in_style(sign.hand(phase), signer, rng)
    other = np.repeat(rest[1:], num_frames, axis=0)
    if sign.partner != "none":
        other_phase = (phase + 0.5 / sign.repeats) % 1 if sign.partner == "alternate" else phase
        other = _in_style(sign.hand(other_phase), signer, rng)
        other[:, 0] = np.maximum(other[:, 0], 0.08)  # each hand stays on its side
        leading[:, 0] = np.maximum(leading[:, 0], 0.08)
    return np.stack([leading, other], axis=1)


def _in_style(hand: FloatArray, signer: Signer, rng: np.random.Generator) -> FloatArray:
    """How this signer does it this time: (N, 10) → (N, 10)."""
    hand = hand.copy()
    middle = hand[:, PLACE].mean(0)
    hand[:, PLACE] = middle + signer.amplitude * float(rng.normal(1, 0.06)) * (hand[:, PLACE] - middle)
    hand[:, PLACE] += signer.offset + rng.normal(0, signer.unsteadiness, 3)
    hand[:, ANGLE] += rng.normal(0, 5)
    lax = min(0.5, abs(signer.laxness + float(rng.normal(0, 0.04))))
    hand[:, CLOSED] += lax * (0.4 - hand[:, CLOSED])
    return hand


def _coarticulate(strokes: list[FloatArray]) -> None:
    """Draw the ends of each stroke towards its neighbours, in place."""
    ends = [(stroke[0].copy(), stroke[-1].copy()) for stroke in strokes]
    for number, stroke in enumerate(strokes):
        fading = np.linspace(1, 0, len(stroke))[:, None, None] ** 2
        if number > 0:
            stroke[:, :, :4] += _PULL * fading * (ends[number - 1][1] - ends[number][0])[:, :4]
        if number + 1 < len(strokes):
            stroke[:, :, :4] += _PULL * fading[::-1] * (ends[number + 1][0] - ends[number][1])[:, :4]


def _smooth(values: FloatArray, width_frames: float) -> FloatArray:
    """Gaussian over time; the ends are repeated."""
    reach = max(1, int(np.ceil(3 * width_frames)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(width_frames, 1e-6)) ** 2)
    padded = np.concatenate([values[:1].repeat(reach, 0), values, values[-1:].repeat(reach, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    smoothed: FloatArray = windows @ (kernel / kernel.sum())
    return smoothed


__all__ = ["NUM_HAND_PARAMETERS", "REST", "Motion", "Span", "perform"]
