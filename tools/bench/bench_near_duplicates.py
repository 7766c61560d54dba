"""Near-duplicates of real recordings: which threshold tells copies from other takes of the same words.

    python tools/bench/bench_near_duplicates.py [--quick] [--data FOLDER] [--out FILE]

Copies are changed in level, codec (mp3), rate (8 kHz and back), cut (0.3 s at the start), noise (20 dB), and all of
it at once; each also starts at a sample of its own, so frames never lie on frames. Originals are English digits (many
takes of the same word by the same speaker: the hard negatives), Arabic commands, Urdu and English sentences. A pair is
right if both come from one recording. One long file holds a fifth of the originals at half the level under noise of
20 dB. FOLDER is laid out as shared/data/speech, beside the checkout. There is no peer: `ratio` is empty.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _result import write_result

from asr.similar_index import open_clip_index
from asr.similar_sound import Fingerprint
from asr.similarity import Pair, find_near_duplicates
from signwave.manifest import Clip
from signwave.media.audio import read_audio, write_wav

Audio = NDArray[np.float32]
RATE_HZ = 16_000
MIN_SECONDS = 0.5
THRESHOLDS = (0.70, 0.74, 0.76, 0.78, 0.80, 0.82, 0.85)
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech"
PATTERNS = (
    "free_spoken_digit_dataset/recordings/*.wav",
    "arabic_speech_commands/dataset/*/*.wav",
    "common_voice_ur_22.0_delta/ur/clips/*.mp3",
    "speechbrain_samples/ASR/*.wav",
    "jfk.flac",
)


def telephone(audio: Audio) -> Audio:
    """Through 8 kHz and back."""
    return np.asarray(soxr.resample(soxr.resample(audio, RATE_HZ, 8000), 8000, RATE_HZ), dtype=np.float32)


def noisy(audio: Audio, rng: np.random.Generator) -> Audio:
    """White noise 20 dB below the recording."""
    level = np.sqrt(np.square(audio, dtype=np.float64).mean() / 100)
    return (audio + level * rng.standard_normal(len(audio))).astype(np.float32)


def cut(audio: Audio) -> Audio:
    """Without the first 0.3 s, or the first fifth if that is less."""
    return audio[min(int(0.3 * RATE_HZ), len(audio) // 5) :]


def changes(rng: np.random.Generator) -> dict[str, Callable[[Audio], Audio]]:
    """Every change by name; "mp3" is applied when the file is written."""
    return {
        "gain": lambda audio: 0.25 * audio,
        "mp3": lambda audio: audio,
        "8_khz": telephone,
        "cut": cut,
        "noise": lambda audio: noisy(audio, rng),
        "all": lambda audio: noisy(telephone(0.5 * cut(audio)), rng),
    }


def originals(data: Path, quick: bool) -> list[Clip]:
    """Recordings of at least half a second."""
    files = [path for pattern in PATTERNS for path in sorted(data.glob(pattern))]
    if not files:
        raise SystemExit(f"{data}: no recordings there; name the folder with --data")
    long_enough = [path for path in files if soundfile.info(str(path)).duration >= MIN_SECONDS]
    return [
        Clip(id=str(number), path=str(path), kind="audio")
        for number, path in enumerate(long_enough[:: 4 if quick else 1])
    ]


def make_copies(clips: list[Clip], folder: Path, rng: np.random.Generator, num_each: int) -> list[Clip]:
    """Changed copies; the id is "change original"."""
    copies = []
    for name, change in changes(rng).items():
        for place in rng.permutation(len(clips))[:num_each]:
            audio = change(read_audio(clips[place].path))
            audio = np.concatenate([np.zeros(rng.integers(160), np.float32), audio])
            path = folder / f"{name}-{place}.{'mp3' if name in ('mp3', 'all') else 'wav'}"
            if path.suffix == ".mp3":
                soundfile.write(str(path), np.clip(audio, -1, 1), RATE_HZ, format="MP3")
            else:
                write_wav(path, audio)
            copies.append(Clip(id=f"{name} {clips[place].id}", path=str(path), kind="audio"))
    return copies


def make_long(clips: list[Clip], folder: Path, rng: np.random.Generator) -> tuple[Clip, set[str]]:
    """One file of many recordings with pauses, and whose they are."""
    inside = [clips[place] for place in rng.permutation(len(clips))[: len(clips) // 5]]
    parts = []
    for clip in inside:
        parts += [noisy(0.5 * read_audio(clip.path), rng), np.zeros(rng.integers(100, 9000), np.float32)]
    path = write_wav(folder / "long.wav", np.concatenate(parts))
    return Clip(id="long", path=str(path), kind="audio"), {clip.id for clip in inside}


def quality(pairs: list[Pair], copies: list[Clip], inside: set[str], threshold: float) -> dict[str, Any]:
    """Precision and recall at a threshold."""
    kept = [pair for pair in pairs if pair.score >= threshold]
    of_copies = [pair for pair in kept if pair.id != "long"]
    right = {pair.id for pair in of_copies if pair.id.split(" ")[1] == pair.other_id}
    wrong = [pair for pair in of_copies if pair.id.split(" ")[1] != pair.other_id]
    names = sorted({clip.id.split(" ")[0] for clip in copies})
    recall = {
        name: float(np.mean([clip.id in right for clip in copies if clip.id.startswith(f"{name} ")])) for name in names
    }
    found = {pair.other_id for pair in kept if pair.id == "long"}
    return {
        "precision": len(right) / max(1, len(right) + len(wrong)),
        "num_wrong": len(wrong),
        "recall": recall,
        "recall_in_long_file": len(found & inside) / len(inside),
        "num_wrong_in_long_file": len(found - inside),
    }


def main() -> None:
    """Measure, print a table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the recordings")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of recordings")
    parser.add_argument("--out", help="the result file")
    arguments = parser.parse_args()
    rng = np.random.default_rng(5)
    clips = originals(arguments.data, arguments.quick)
    with tempfile.TemporaryDirectory() as temporary:
        copies = make_copies(clips, Path(temporary), rng, 60 if arguments.quick else 200)
        long, inside = make_long(clips, Path(temporary), rng)
        start = time.perf_counter()
        with open_clip_index(None, Fingerprint()) as index:
            found = find_near_duplicates(index, [*copies, long], against=clips, threshold=min(THRESHOLDS))
            elapsed = time.perf_counter() - start
            num_windows = len(index.index)
            bytes_per_window = index.index.info()["bytes"] / num_windows
    figures: dict[str, Any] = {
        "num_originals": len(clips),
        "num_copies": len(copies),
        "num_in_long_file": len(inside),
        "num_windows": num_windows,
        "bytes_per_window": bytes_per_window,
        "milliseconds_per_window": 1000 * elapsed / num_windows,
        "thresholds": {f"{level:.2f}": quality(found.pairs, copies, inside, level) for level in THRESHOLDS},
    }
    for level, values in figures["thresholds"].items():
        recall = " ".join(f"{name} {share:.3f}" for name, share in values["recall"].items())
        print(f"{level}  precision {values['precision']:.4f} ({values['num_wrong']} wrong)  recall: {recall}  "
              f"long file {values['recall_in_long_file']:.3f} ({values['num_wrong_in_long_file']} wrong)")  # fmt: skip
    print(write_result("near_duplicates", figures, {}, arguments.out))


if __name__ == "__main__":
    main()
