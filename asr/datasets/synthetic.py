"""Synthetic speech: short Persian, Arabic and Urdu sentences spoken by espeak-ng, for trying the multilingual path.

A formant synthesiser is no speaker: error rates on it say that the path works, nothing about recognising people.
The sentences (asr/datasets/sentences_{fa,ar,ur}.txt) were written for this project and are under its licence; espeak-ng
is GPL-3.0+ and comes as the separate package `espeakng-loader`. Splits: "train" and "dev" share voices, "test" has
sentences that are in no other split, half of them in a voice variant that is in no other split.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import ctypes
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.data import SpeechData, SpeechDataConfig
from asr.features import FeatureSettings
from asr.text import for_language
from signwave.errors import UserError, require
from signwave.manifest import Clip
from signwave.prepare import Problem, Row, run_prepare
from signwave.text import Vocabulary

SENTENCES_DIR = Path(__file__).parent
LANGUAGES = ("fa", "ar", "ur")
TRAIN_VARIANTS = ("", "m3", "f2", "m7", "f4")
TEST_VARIANTS = ("m3", "f3")
"""Voices of the test sentences, in turn: one from training, one that is only here."""
DEFAULT_WORDS_PER_MINUTE = 175
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE = 1  # espeak's number of the parameter "words per minute"


class Utterance(NamedTuple):
    """What to say and how."""

    id: str
    text: str
    language: str
    variant: str
    words_per_minute: int
    split: str


class _Espeak(NamedTuple):
    library: Any
    rate_hz: int
    chunks: list[NDArray[np.int16]]
    callback: Any


@functools.cache
def _espeak() -> _Espeak:
    """The library, started once a process: started again it goes on using tables it has freed.

    What is cached also keeps the callback alive, which the library only borrows.
    """
    loader: Any = require("espeakng_loader", extra="tts")
    library = ctypes.CDLL(str(loader.get_library_path()))
    rate_hz = int(library.espeak_Initialize(_SYNCHRONOUS, 0, str(loader.get_data_path()).encode(), 0))
    if rate_hz <= 0:
        raise UserError("espeak-ng could not start; install espeakng-loader again")
    chunks: list[NDArray[np.int16]] = []

    def collect(samples: Any, count: int, events: Any) -> int:
        del events
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())  # the library uses the memory again
        return 0

    callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    callback = callback_type(collect)
    library.espeak_SetSynthCallback(callback)
    return _Espeak(library, rate_hz, chunks, callback)


class Synthesiser:
    """espeak-ng through ctypes; all of a process share its one library, so they must not speak at the same time."""

    def __init__(self) -> None:
        self._library, self.rate_hz, self._chunks, _ = _espeak()

    def speak(self, text: str, *, voice: str, words_per_minute: int = DEFAULT_WORDS_PER_MINUTE) -> NDArray[np.int16]:
        """Say a text.

        Args:
            text: in the script of the voice.
            voice: language, or language+variant such as "fa+f3".
            words_per_minute: 80 to 450.

        Returns:
            samples: (S,) int16 mono at `rate_hz`.

        Raises:
            UserError: there is no such voice; without the check the previous voice would go on speaking.
        """
        if not 80 <= words_per_minute <= 450:
            raise ValueError(f"words_per_minute must be 80 to 450, got {words_per_minute}")
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(
                f"espeak-ng has no voice '{voice}'; give a language such as fa, ar, ur, with a variant such as fa+f3"
            )
        self._library.espeak_SetParameter(_RATE, words_per_minute, 0)
        self._chunks.clear()
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate(self._chunks) if self._chunks else np.zeros(0, dtype=np.int16)


def read_sentences(language: str, *, folder: Path = SENTENCES_DIR) -> list[str]:
    """The sentences of a language, normalised, each once.

    Raises:
        UserError: there is no file for the language.
    """
    path = folder / f"sentences_{language}.txt"
    if not path.is_file():
        known = ", ".join(sorted(found.stem.removeprefix("sentences_") for found in folder.glob("sentences_*.txt")))
        raise UserError(f"{path}: no sentences for the language '{language}'; there are {known or 'none'}")
    lines = path.read_text(encoding="utf-8").splitlines()
    normalise = for_language(language)
    return list(dict.fromkeys(text for line in lines if (text := normalise(line)) and not line.startswith("#")))


def plan(
    *,
    languages: tuple[str, ...] = LANGUAGES,
    num_train: int = 160,
    num_dev: int = 12,
    num_test: int = 24,
    seed: int = 0,
) -> Iterator[Utterance]:
    """Decide which sentence is said how. Numbers are sentences of each language; a sentence lies in one split only.

    Args:
        languages: codes with a sentence file.
        num_train: sentences for training, one performance each; all that are left over when there are fewer.
        num_dev: sentences in training voices, for decoder settings and early stopping.
        num_test: held-out sentences.
        seed: of the choice.
    """
    for language in languages:
        sentences = sorted(read_sentences(language), key=lambda text: _order(text, seed))
        if len(sentences) <= num_dev + num_test:
            raise UserError(
                f"'{language}' has {len(sentences)} sentences; num_dev + num_test must leave some for training"
            )
        splits = ["test"] * num_test + ["dev"] * num_dev + ["train"] * num_train
        for number, (text, split) in enumerate(zip(sentences, splits, strict=False)):
            rng = np.random.default_rng(int(_order(f"{language} {text}", seed)[:8], 16))
            variants = TEST_VARIANTS if split == "test" else TRAIN_VARIANTS
            speed = int(rng.integers(150, 201))
            yield Utterance(f"{language}-{number:04d}", text, language, variants[number % len(variants)], speed, split)


def prepare(raw: Path, *, languages: str = ",".join(LANGUAGES), num_train: int = 160, num_dev: int = 12,
            num_test: int = 24, seed: int = 0) -> Iterator[Row | Problem]:  # fmt: skip
    """Synthesise into `raw` and yield the rows; wav files that are there already are kept.

    Args:
        raw: folder for the wav files.
        languages: codes separated by commas.
        num_train: see `plan`, as the following.
        num_dev: see `plan`.
        num_test: see `plan`.
        seed: see `plan`.
    """
    import soundfile

    from signwave.rundir import atomic_path

    chosen = tuple(code.strip() for code in languages.split(",") if code.strip())
    synthesiser = Synthesiser()
    for item in plan(languages=chosen, num_train=num_train, num_dev=num_dev, num_test=num_test, seed=seed):
        voice = f"{item.language}+{item.variant}" if item.variant else item.language
        # The name tells everything the sound depends on, so a file that is there is the right one.
        digest = _order(f"{item.text} {voice} {item.words_per_minute}", 0)[:16]
        path = Path(raw) / item.language / f"{digest}.wav"
        if not path.is_file():
            samples = synthesiser.speak(item.text, voice=voice, words_per_minute=item.words_per_minute)
            if not samples.size:
                yield Problem(str(path), f"espeak-ng gave no sound for {item.text!r}", "empty")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                soundfile.write(str(temporary), samples, synthesiser.rate_hz, format="WAV", subtype="PCM_16")
        info = soundfile.info(str(path))
        yield Row(Clip(
            id=item.id, path=str(path), kind="audio", num_frames=info.frames, rate_hz=float(info.samplerate),
            text=item.text, language=item.language, person=f"espeak-{voice}", group=item.text, split=item.split,
        ), str(path))  # fmt: skip


def _order(text: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


@dataclass
class EspeakDataConfig(SpeechDataConfig):
    """Sentences of this package, spoken when the recipe starts; `manifest_dir` is where wav files and manifests go."""

    languages: list[str] = field(default_factory=lambda: list(LANGUAGES))
    num_train: int = 160
    """Sentences of each language, as the next two."""
    num_dev: int = 12
    num_test: int = 24
    synthesis_seed: int = 0

    def build(
        self,
        settings: FeatureSettings,
        *,
        budget: int,
        seed: int = 0,
        num_workers: int = 0,
        vocabulary: Vocabulary | None = None,
    ) -> SpeechData:
        """Synthesise what is missing, write the manifests, then build like any corpus."""
        folder = Path(self.manifest_dir)
        (folder / "wav").mkdir(parents=True, exist_ok=True)
        rows = prepare(
            folder / "wav",
            languages=",".join(self.languages),
            num_train=self.num_train,
            num_dev=self.num_dev,
            num_test=self.num_test,
            seed=self.synthesis_seed,
        )
        run_prepare(rows, folder, show_progress=False)
        return super().build(settings, budget=budget, seed=seed, num_workers=num_workers, vocabulary=vocabulary)
