"""Acoustic tokens: merging against a plain twin, similarity on made-up and on real languages."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.donors.acoustic_tokens import cosine, hear, join_units, similarities
from asr.donors.frames import mel_frames
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.media.audio import write_wav

Floats = NDArray[np.float32]


def plain_merging(lines: list[list[int]], num_tokens: int) -> list[list[int]]:
    known = {unit for line in lines for unit in line}
    following, size = max(known, default=0) + 1, len(known)
    while size < num_tokens:
        pairs = Counter(pair for line in lines for pair in pairwise(line))
        if not pairs or max(pairs.values()) < 2:
            break
        best = min(pair for pair, count in pairs.items() if count == max(pairs.values()))
        merged = []
        for line in lines:
            done: list[int] = []
            place = 0
            while place < len(line):
                if tuple(line[place : place + 2]) == best:
                    done.append(following)
                    place += 2
                else:
                    done.append(line[place])
                    place += 1
            merged.append(done)
        lines, following, size = merged, following + 1, size + 1
    return lines


@given(st.lists(st.lists(st.integers(0, 3), max_size=30), max_size=5), st.integers(1, 20))
@settings(max_examples=150, deadline=None)
def test_merging_is_that_of_a_plain_twin(lines: list[list[int]], num_tokens: int) -> None:
    found = join_units([np.array(line, dtype=np.int64) for line in lines], num_tokens=num_tokens)
    assert [line.tolist() for line in found] == plain_merging(lines, num_tokens)


def test_cosine() -> None:
    assert cosine({1: 2, 2: 1}, {1: 4, 2: 2}) == pytest.approx(1.0)
    assert cosine({1: 2}, {2: 1}) == cosine({}, {1: 1}) == 0.0


def speech_of(habits: NDArray[np.float64], seed: int, num_pieces: int = 20) -> list[Floats]:
    """Frames of a language that moves between sounds as its matrix of habits says."""
    rng = np.random.default_rng(seed)
    places = np.random.default_rng(0).normal(size=(len(habits), 6)) * 4
    pieces = []
    for _ in range(num_pieces):
        state, frames = 0, []
        for _ in range(100):
            frames += [places[state] + 0.3 * rng.standard_normal(6) for _ in range(rng.integers(1, 4))]
            state = int(rng.choice(len(habits), p=habits[state]))
        pieces.append(np.array(frames, dtype=np.float32))
    return pieces


def habits(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).dirichlet(np.full(8, 0.3), size=8)


def test_languages_of_like_habits_are_alike_though_their_sounds_are_the_same() -> None:
    target = habits(1)
    near = 0.8 * target + 0.2 * habits(2)
    heard = {
        "target": speech_of(target, 1), "same": speech_of(target, 2), "near": speech_of(near, 3),
        "far": speech_of(habits(3), 4),
    }  # fmt: skip
    found = similarities(heard, "target", num_clusters=8, num_tokens=60)
    assert found["target"] == pytest.approx(1.0)
    assert 1.0 > found["same"] > found["near"] > found["far"] + 0.1
    assert found == similarities(heard, "target", num_clusters=8, num_tokens=60)


def test_what_can_not_be_heard_is_left_out_or_named() -> None:
    heard: dict[str, list[Floats]] = {"a": speech_of(habits(1), 1, 3), "b": [], "c": [np.zeros((0, 6), np.float32)]}
    assert set(similarities(heard, "a", num_clusters=4)) == {"a"}
    with pytest.raises(UserError, match="target language 'b'"):
        similarities(heard, "b")


def test_bad_files_are_named_and_hours_are_limited(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.1
    clips = [
        Clip(
            id=str(n),
            path=str(write_wav(tmp_path / f"{n}.wav", noise)),
            kind="audio",
            num_frames=32_000,
            rate_hz=16000.0,
        )
        for n in range(6)
    ]
    gone = Clip(id="gone", path=str(tmp_path / "gone.wav"), kind="audio")
    found = hear([*clips, gone], mel_frames)
    assert (len(found.frames), found.seconds, len(found.failures)) == (6, 12.0, 1)
    assert found.frames[0].shape == (100, 80)
    assert len(hear(clips, mel_frames, max_hours=5 / 3600).frames) == 3


def test_real_recordings_of_one_corpus_are_closer_than_of_another(shared_data: Path) -> None:
    """Not a claim about languages: digits and commands of other speakers in other rooms; it must come out right."""
    speech = shared_data / "speech"
    digits = sorted((speech / "free_spoken_digit_dataset/recordings").glob("*.wav"))
    commands = sorted((speech / "arabic_speech_commands/dataset").rglob("*.wav"))

    def clips(paths: list[Path]) -> list[Clip]:
        return [Clip(id=path.stem, path=str(path), kind="audio") for path in paths]

    groups = {
        "target": clips([p for p in digits if "_george_" in p.name or "_jackson_" in p.name][:200]),
        "digits": clips([p for p in digits if "_nicolas_" in p.name or "_theo_" in p.name][:200]),
        "commands": clips(commands[:200]),
    }
    heard = {language: hear(own, mel_frames).frames for language, own in groups.items()}
    found = similarities(heard, "target", num_clusters=50, num_tokens=300)
    assert found["digits"] > found["commands"]
