"""Clips of joined letters with every point that keypoint models read: hands, body and mouth of the recordings.

A recording is brought into signer's units first, and that of a left-handed signer is mirrored, so that letters of one
alphabet fit together wherever they were filmed. No two performances of a letter are alike: tempo, cut ends, place of
the hand and its turn about the wrist are drawn anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.media.poses import write_pose
from slr.datasets.fingerspelling import RATE_HZ, Alphabet, Letter
from slr.datasets.spelled_clips import CUT, HAND_COMPONENTS, HAND_LIMBS, LETTER_SECONDS, PICTURE_PX, in_picture
from slr.keypoints import hand_transforms, layout
from slr.keypoints.hand_transforms import NUM_HAND_POINTS, FloatArray, rotation, turn_hands

_MOVE_FRAMES = (2, 6)
_MOVE_FRAMES_SAME_LETTER = (4, 8)
_SAME_LETTER_SLIDE = -0.2
"""The second of two equal letters is shown a little further out, as people do; in shoulder widths."""
_LEAD_FRAMES = 10
_MAX_HELD_FRAMES = 50
"""Sound recordings hold a letter for at most 31 frames; two of gss are damaged, and "held" for 4 and 10 seconds."""
_TURN_DEGREES = (5.0, 5.0)
_PLACE = (0.06, 0.03)
"""Standard deviations for a whole clip and for one letter: turn of the hand, and its place in shoulder widths."""

_FIRST_BODY = layout.BODY.start
_REST_NAMES = layout.BODY_NAMES
_MOUTH = next(part for part in layout.SOURCES["mediapipe"] if part.name == "FACE_LANDMARKS")
_COMPONENTS = {
    "POSE_LANDMARKS": _REST_NAMES,
    _MOUTH.name: _MOUTH.points,
    **HAND_COMPONENTS,
}
_RIGHT_ELBOW, _RIGHT_WRIST = _REST_NAMES.index("RIGHT_ELBOW"), _REST_NAMES.index("RIGHT_WRIST")


class Recording(NamedTuple):
    """A letter with all its points, at 25 Hz, in signer's units.

    letter: its hands, the signing one first, and the frames in which it is held.
    hand_seen: (T,) float32, 1 where the signing hand is seen; `letter.hands` repeats the nearest frame elsewhere.
    rest: (T, 21, 3) float32 x, y, confidence of body and mouth, see slr.keypoints.layout; mirrored as the hands are.
    """

    letter: Letter
    hand_seen: FloatArray
    rest: FloatArray


class Joined(NamedTuple):
    """A clip.

    hands: (T, 42, 3) float32 at 25 Hz, see slr.keypoints.hand_transforms; the signing hand is the right one.
    hand_seen: (T,) float32, confidence of the signing hand.
    rest: (T, 21, 3) float32, see Recording.
    spans: frames [start, stop) of each letter; the moves between letters and the lead belong to none.
    """

    hands: FloatArray
    hand_seen: FloatArray
    rest: FloatArray
    spans: tuple[tuple[int, int], ...]


def damaged_letters(alphabet: Alphabet) -> list[str]:
    """Labels whose recording is no letter held up: the hand is up for far too long."""
    return [label for label, letter in alphabet.items() if letter.stop - letter.start > _MAX_HELD_FRAMES]


def read_recordings(alphabets: Mapping[str, Alphabet]) -> dict[str, dict[str, Recording]]:
    """The whole figures of alphabets that `load_alphabets` gave."""
    return {name: {label: _read(letter) for label, letter in alphabet.items()} for name, alphabet in alphabets.items()}


def _read(letter: Letter) -> Recording:
    points = layout.read_keypoints(letter.path, rate_hz=RATE_HZ).points
    seen = points[:, [layout.LEFT_HAND.start, layout.RIGHT_HAND.start], 2] > 0
    left_handed = is_left_handed(seen)
    if left_handed:
        points = points[:, list(layout.MIRRORED)] * np.asarray([-1, 1, 1], dtype=np.float32)
    hand_seen = seen[:, 0 if left_handed else 1].astype(np.float32)
    return Recording(letter, hand_seen, points[:, _FIRST_BODY:].astype(np.float32))


def is_left_handed(seen: NDArray[np.bool_]) -> bool:
    """Whether the left hand signs, by the same rule as `hands_in_signer_units`. seen: (T, 2) bool, left and right."""
    share = seen.mean(0)
    return bool(share[0] > share[1] + 0.3)


def join(recordings: Sequence[Recording], rng: np.random.Generator) -> Joined:
    """Join letters to a clip that begins with the hand coming up and ends with it going down.

    Args:
        recordings: of one alphabet, at least one.
        rng: the only source of chance.
    """
    seconds = rng.uniform(*LETTER_SECONDS)
    turn, place = rng.normal(0, _TURN_DEGREES[0], 3), rng.normal(0, _PLACE[0], 2)
    parts: list[Joined] = []
    spans: list[tuple[int, int]] = []
    num_frames, slide = 0, 0.0
    for index, recording in enumerate(recordings):
        same = index > 0 and recordings[index - 1].letter.label == recording.letter.label
        slide = slide + _SAME_LETTER_SLIDE if same else 0.0
        offset = place + rng.normal(0, _PLACE[1], 2) + [slide, 0]
        matrix = rotation(turn + rng.normal(0, _TURN_DEGREES[1], 3))
        size = max(4, round(seconds * rng.uniform(0.8, 1.2) * RATE_HZ))
        part = _perform(recording, rng, num_frames=size, first=index == 0, last=index == len(recordings) - 1)
        part = _displaced(part, offset, matrix)
        if parts:
            move = _move(parts[-1], part, int(rng.integers(*(_MOVE_FRAMES_SAME_LETTER if same else _MOVE_FRAMES))))
            parts.append(move)
            num_frames += len(move.hands)
        parts.append(part)
        ((start, stop),) = part.spans
        spans.append((num_frames + start, num_frames + stop))
        num_frames += len(part.hands)
    return Joined(
        hands=np.concatenate([part.hands for part in parts]),
        hand_seen=np.concatenate([part.hand_seen for part in parts]),
        rest=np.concatenate([part.rest for part in parts]),
        spans=tuple(spans),
    )


def _perform(recording: Recording, rng: np.random.Generator, *, num_frames: int, first: bool, last: bool) -> Joined:
    letter = recording.letter
    low, high = np.floor(rng.uniform(*CUT, 2) * (letter.stop - letter.start - 1)).astype(int).tolist()
    start, end = letter.start + low, letter.stop - 1 - high
    before = np.arange(max(0, start - _LEAD_FRAMES), start, dtype=np.float64) if first else np.zeros(0)
    after = np.arange(end + 1, min(len(letter.hands), end + 1 + _LEAD_FRAMES), dtype=np.float64) if last else before[:0]
    positions = np.concatenate([before, np.linspace(start, end, num_frames), after])
    seen = recording.hand_seen[np.rint(positions).astype(int).clip(0, len(recording.hand_seen) - 1)]
    span = (len(before), len(before) + num_frames)
    seen[span[0] : span[1]] = 1  # a gap in the detection of a held letter is filled
    rest = layout.sample_at(recording.rest, positions.clip(0, len(recording.rest) - 1))
    return Joined(hand_transforms.sample_at(letter.hands, positions), seen, rest, (span,))


def _displaced(part: Joined, offset: NDArray[np.float64], matrix: FloatArray) -> Joined:
    """The signing hand turned about its wrist and moved; its arm follows."""
    hands = part.hands.copy()
    hands[:, :NUM_HAND_POINTS] = turn_hands(part.hands, matrix)[:, :NUM_HAND_POINTS]
    hands[:, :NUM_HAND_POINTS, :2] += offset.astype(np.float32)
    rest = part.rest.copy()
    for joint, share in ((_RIGHT_WRIST, 1.0), (_RIGHT_ELBOW, 0.5)):
        rest[:, joint, :2] += np.where(rest[:, joint, 2:] > 0, share * offset, 0).astype(np.float32)
    return part._replace(hands=hands, rest=rest)


def _move(before: Joined, after: Joined, num_frames: int) -> Joined:
    """Frames between the last of one letter and the first of the next."""
    weights = np.linspace(0, 1, num_frames + 2)[1:-1]
    hands = hand_transforms.sample_at(np.concatenate([before.hands[-1:], after.hands[:1]]), weights)
    rest = layout.sample_at(np.concatenate([before.rest[-1:], after.rest[:1]]), weights)
    return Joined(hands, np.ones(num_frames, dtype=np.float32), rest, ())


def write_joined(path: str | Path, joined: Joined) -> None:
    """Write a clip as a `.pose` file in MediaPipe's names: 42 points of hands, 11 of the body, 10 of the mouth."""
    signing, other = joined.hands[:, :NUM_HAND_POINTS], joined.hands[:, NUM_HAND_POINTS:]
    flat = np.concatenate([joined.rest[..., :2], np.zeros((*joined.rest.shape[:2], 1), dtype=np.float32)], axis=-1)
    other_seen = hand_transforms.other_hand_seen(joined.hands).astype(np.float32)
    hands_seen = np.repeat(np.stack([other_seen, joined.hand_seen], axis=1), NUM_HAND_POINTS, axis=1)
    write_pose(
        path,
        components=_COMPONENTS,
        points=in_picture(np.concatenate([flat, other, signing], axis=1)),
        confidence=np.concatenate([joined.rest[..., 2], hands_seen], axis=1),
        fps=RATE_HZ,
        size_px=(PICTURE_PX, PICTURE_PX),
        limbs=HAND_LIMBS,
    )
