"""A prepared corpus for CTC training: which clips, which tokens, and the splits as batches."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asr.augment import Audio, AugmentConfig
from asr.features import SAMPLE_RATE_HZ, FeatureSettings
from asr.speech_dataset import ReadAudio, SpeechDataset, normalised_text, read_clip
from asr.text import ANY, for_language
from asr.tokenizers.tokenizer import Tokenizer
from signwave import manifest
from signwave.errors import ConfigError
from signwave.manifest import Clip
from signwave.text import Normaliser, Vocabulary
from signwave.training.data import DataModule

__all__ = [
    "ReadAudio", "SpeechData", "SpeechDataConfig", "SpeechDataset", "ToneDataConfig", "normalised_text", "read_clip",
    "tone_audio",
]  # fmt: skip

log = logging.getLogger(__name__)

_NAMED_AT_MOST = 5


@dataclass
class SpeechDataConfig:
    """A prepared corpus: the folder that `asr prepare` wrote, with train, for choosing dev, for the figures test."""

    manifest_dir: str = ""
    """Folder with train.jsonl.gz, dev.jsonl.gz and test.jsonl.gz."""
    how_to_prepare: str = "asr prepare CORPUS RAW_DIR"
    """Command that makes the folder, told when it is missing."""
    language: str = ""
    """Keep the clips of this language only; empty keeps all."""
    max_seconds: float = 29.0
    """Longer training clips are left out, and none is slowed down beyond it."""
    cache_hours: float = 2.0
    """Decoded audio that each loader process keeps in memory, 0.23 GB an hour."""
    tokenizer: str = ""
    """Folder or run that holds the tokenizer.json of `asr tokenizer train`; empty takes the characters of the training
    texts."""
    vary_cuts: bool = False
    """Cut a training text into other pieces each time: subword regularisation."""
    min_character_count: int = 1
    """Characters that the training texts hold less often get no token, and clips with them are left out: stray letters
    of other scripts would each have a row that is hardly ever trained."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if self.min_character_count < 1 or self.max_seconds <= 0 or self.cache_hours < 0:
            raise ConfigError(
                "data: min_character_count must be at least 1, max_seconds above 0 and cache_hours at least 0"
            )

    def clips(self, split: str) -> list[Clip]:
        """Rows of a split.

        Returns:
            None of "dev" or "test" where there is no such manifest: then nothing is chosen, or no figure given.

        Raises:
            ConfigError: the folder or "train" is missing; says which command makes it.
        """
        path = Path(self.manifest_dir) / f"{split}.jsonl.gz"
        if split != "train" and not path.exists():
            return []
        if not self.manifest_dir or not path.is_file():
            raise ConfigError(f"data.manifest_dir={self.manifest_dir}: no {split}.jsonl.gz there; make it with: "
                              f"{self.how_to_prepare} {self.manifest_dir or 'OUT_DIR'}")  # fmt: skip
        rows = [clip for clip in manifest.read(path) if self.language in ("", clip.language)]
        return [clip for clip in rows if split != "train" or (clip.duration_seconds or 0.0) <= self.max_seconds]

    def build(
        self,
        settings: FeatureSettings,
        *,
        budget: int,
        seed: int = 0,
        num_workers: int = 0,
        vocabulary: Vocabulary | None = None,
    ) -> "SpeechData":
        """Read the manifests and make the splits.

        Args:
            settings: features the encoder takes.
            budget: feature frames (samples for waveforms) of a padded batch.
            seed: of order and augmentation.
            num_workers: loader processes a split.
            vocabulary: instead of the characters of the training texts; clips that it can't spell are left out.
        """
        clips = {split: self.clips(split) for split in SPLITS}
        return _speech_data(clips, self, settings, read=None, budget=budget, seed=seed, num_workers=num_workers,
                            vocabulary=vocabulary)  # fmt: skip


@dataclass
class ToneDataConfig(SpeechDataConfig):
    """Made-up speech for trying a recipe: each letter is a tone of its own."""

    num_clips: int = 12

    def clips(self, split: str) -> list[Clip]:
        """Rows without files: `tone_audio` makes their sound."""
        rng = np.random.default_rng(SPLITS.index(split))
        words = ["".join(rng.choice(list("abcd"), size=3)) for _ in range(2 * self.num_clips)]
        return [
            Clip(id=f"{split}-{i}", path=f"{split}-{i}.wav", kind="audio", text=f"{words[2 * i]} {words[2 * i + 1]}",
                 num_frames=7 * TONE_SAMPLES, rate_hz=float(SAMPLE_RATE_HZ), language="en", split=split)
            for i in range(self.num_clips)
        ]  # fmt: skip

    def build(
        self,
        settings: FeatureSettings,
        *,
        budget: int,
        seed: int = 0,
        num_workers: int = 0,
        vocabulary: Vocabulary | None = None,
    ) -> "SpeechData":
        """Like the real one, with sound that is computed."""
        clips = {split: self.clips(split) for split in SPLITS}
        return _speech_data(clips, self, settings, read=tone_audio, budget=budget, seed=seed, num_workers=num_workers,
                            vocabulary=vocabulary)  # fmt: skip


TONE_SAMPLES = SAMPLE_RATE_HZ // 5


def tone_audio(clip: Clip) -> Audio:
    """(S,) float32: 0.2 s of a tone for each letter of the text, silence for the space."""
    seconds = np.arange(TONE_SAMPLES) / SAMPLE_RATE_HZ
    tones = [np.sin(2 * np.pi * 200.0 * (1 + "abcd".find(letter)) * seconds) * (letter != " ") for letter in clip.text]
    return (0.3 * np.concatenate(tones)).astype(np.float32)


SPLITS = ("train", "dev", "test")


class SpeechData(DataModule):
    """The splits of a corpus with what was learnt from their texts.

    Attributes:
        vocabulary: of the tokenizer, or the characters of the training texts.
        tokenizer: None where tokens are characters.
        normaliser: of the corpus' language, or the one for any language where there are several.
        lm_texts: normalised training texts.
        groups: clip id → groups for the figures: its language, where there are several.
        info: facts about the data for the bundle.
    """

    vocabulary: Vocabulary
    tokenizer: Tokenizer | None
    normaliser: Normaliser
    lm_texts: list[str]
    groups: dict[str, tuple[str, ...]]
    info: dict[str, Any]


def _speech_data(
    clips: dict[str, list[Clip]], config: SpeechDataConfig, settings: FeatureSettings, *,
    read: ReadAudio | None, budget: int, seed: int, num_workers: int, vocabulary: Vocabulary | None,
) -> SpeechData:  # fmt: skip
    if not clips["train"]:
        raise ConfigError(
            f"data.manifest_dir={config.manifest_dir}: no training clip is left (data.language={config.language}, "
            f"data.max_seconds={config.max_seconds:g}); {_languages_of(config)}"
        )
    languages = sorted({clip.language for clip in clips["train"]})
    tokenizer = Tokenizer.load(config.tokenizer) if config.tokenizer else None
    normaliser = tokenizer.normaliser if tokenizer else None
    texts = [normalised_text(clip, normaliser) for clip in clips["train"]]
    vocabulary = _vocabulary(texts, tokenizer, vocabulary, config)
    train, dev, test = (
        SpeechDataset(
            _spellable(clips[split], tokenizer or vocabulary, normaliser, split), vocabulary=vocabulary,
            settings=settings, read=read, augment=config.augment if split == "train" else None,
            cache_hours=config.cache_hours, max_seconds=config.max_seconds, normaliser=normaliser,
            tokenizer=tokenizer, vary_cuts=config.vary_cuts,
        )
        for split in SPLITS
    )  # fmt: skip
    data = SpeechData(
        train,
        dev if len(dev) else None,
        test if len(test) else None,
        budget=budget,
        seed=seed,
        num_workers=num_workers,
        rate_hz=SAMPLE_RATE_HZ / settings.samples_per_frame,
    )
    data.vocabulary, data.tokenizer, data.lm_texts = vocabulary, tokenizer, train.texts
    data.normaliser = normaliser or (for_language(languages[0]) if len(languages) == 1 else ANY)
    data.groups = {clip.id: _groups(clip) for clip in test.clips} if len(languages) > 1 else {}
    data.info = {
        "language": languages[0] if len(languages) == 1 else "", "languages": languages,
        "hours_train": round(train.hours, 4),
        "num_clips_train": len(train), "normalisers": {code: for_language(code).to_dict() for code in languages},
        "num_test_texts_in_train": len(set(test.texts) & set(train.texts)),
        "num_train_clips_left_out": len(clips["train"]) - len(train),
        "num_test_clips_left_out": len(clips["test"]) - len(test),
    }  # fmt: skip
    return data


def _languages_of(config: SpeechDataConfig) -> str:
    path = Path(config.manifest_dir) / "train.jsonl.gz"
    counts = Counter(clip.language or "(none)" for clip in manifest.read(path)) if path.is_file() else Counter[str]()
    return f"train.jsonl.gz holds {', '.join(f'{code}: {n}' for code, n in counts.most_common()) or 'no clip'}"


def _vocabulary(
    texts: Sequence[str], tokenizer: Tokenizer | None, given: Vocabulary | None, config: SpeechDataConfig
) -> Vocabulary:
    if tokenizer is None:
        with_space = config.augment.join_probability > 0
        return given or _characters(texts, config.min_character_count, with_space=with_space)
    if given is not None and given != tokenizer.vocabulary:
        raise ConfigError(f"data.tokenizer={config.tokenizer}: its tokens aren't those of the model to start from; "
                          "take the tokenizer that lies in that model's folder")  # fmt: skip
    return tokenizer.vocabulary


def _characters(texts: Sequence[str], min_count: int, *, with_space: bool) -> Vocabulary:
    """The characters of the training texts that occur often enough; the space also where clips get joined."""
    counts = Counter(char for text in texts for char in text)
    kept = "".join(char for char, count in counts.items() if count >= min_count and char != " ")
    return Vocabulary.build([f"{kept} {kept}" if " " in counts or with_space else kept], unit="char")


def _spellable(
    clips: list[Clip], speller: Tokenizer | Vocabulary, normaliser: Normaliser | None, split: str
) -> list[Clip]:
    """Clips whose text the vocabulary can spell; the log counts the others and names the first."""
    kept, left_out = [], []
    for clip in clips:
        unknown = speller.unknown(normalised_text(clip, normaliser))
        if unknown:
            left_out.append(f"'{clip.id}' with {' '.join(sorted(set(unknown)))}")
        else:
            kept.append(clip)
    if left_out:
        more = f" and {len(left_out) - _NAMED_AT_MOST} more" if len(left_out) > _NAMED_AT_MOST else ""
        log.warning("%s: %d of %d clips left out, their texts hold what the vocabulary doesn't: %s%s", split,
                    len(left_out), len(clips), ", ".join(left_out[:_NAMED_AT_MOST]), more)  # fmt: skip
    if clips and not kept:
        raise ConfigError(f"{split}: the vocabulary can spell none of {len(clips)} clips, e.g. {left_out[0]}; "
                          "check that the tokenizer and the corpus are of one language")  # fmt: skip
    return kept


def _groups(clip: Clip) -> tuple[str, ...]:
    """Language, and language with the voice."""
    variant = clip.person.partition("+")[2]
    return (clip.language, f"{clip.language}_{variant}") if variant else (clip.language,)
