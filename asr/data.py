"""Speech for CTC training: manifests to padded batches, with augmentation that is seeded per clip and epoch.

Augmentation acts on audio (joining clips, speed, level, noise) and on features (SpecAugment), in this order, and only
in training. All of it is drawn from the seed of the draw, so a resumed run sees the same clips as an uninterrupted one.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.augment import Audio, AugmentConfig, mask_features, vary_audio
from asr.features import SAMPLE_RATE_HZ, FeatureSettings, extract
from asr.text import ANY, for_language
from signwave import manifest
from signwave.errors import ConfigError, LabelError, UserError
from signwave.manifest import Clip
from signwave.sampling import Draw
from signwave.text import Normaliser, Vocabulary
from signwave.training.ctc_module import CtcBatch
from signwave.training.data import DataModule

log = logging.getLogger(__name__)

ReadAudio = Callable[[Clip], Audio]


class SpeechItem(NamedTuple):
    """One clip ready for a batch.

    features: (S,) float32 or (T, D) float32.
    labels: (N,) int64.
    """

    id: str
    features: Tensor
    labels: Tensor


class SpeechDataset:
    """Clips of one split.

    Args:
        clips: rows of a manifest, with transcripts.
        vocabulary: of the transcripts after normalisation.
        settings: features the encoder takes.
        normaliser: for every clip; None takes the one of each clip's language.
        augment: for training; None leaves clips as they are.
        read: gives (S,) float32 audio at 16 kHz; default reads the clip's file.
        cache_hours: keep up to this much decoded audio in the memory of each loader process (0.23 GB an hour).
        max_seconds: slowing a clip down doesn't make it longer than this; None = no limit.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        vocabulary: Vocabulary,
        settings: FeatureSettings,
        normaliser: Normaliser | None = None,
        augment: AugmentConfig | None = None,
        read: ReadAudio | None = None,
        cache_hours: float = 0.0,
        max_seconds: float | None = None,
    ) -> None:
        self.clips = list(clips)
        self.vocabulary = vocabulary
        self.settings = settings
        self.augment = augment
        self.texts = [normalised_text(clip, normaliser) for clip in self.clips]
        """Normalised transcripts, in the order of the clips."""
        self._read = read or read_clip
        self._cache: dict[int, Audio] = {}
        self._cache_samples = int(cache_hours * 3600 * SAMPLE_RATE_HZ)
        self._max_samples = None if max_seconds is None else int(max_seconds * SAMPLE_RATE_HZ)
        self.num_samples = [_num_samples(clip) for clip in self.clips]
        """16 kHz samples of each clip."""

    @property
    def lengths(self) -> list[int]:
        """Feature frames of each clip (samples for waveforms): what a batch's budget counts."""
        return [self.settings.num_frames(size) for size in self.num_samples]

    @property
    def hours(self) -> float:
        """Length of all clips."""
        return sum(self.num_samples) / SAMPLE_RATE_HZ / 3600

    def __len__(self) -> int:
        return len(self.clips)

    def plain_item(self, index: int) -> SpeechItem:
        """A clip as it is, without augmentation."""
        return self._item(index, extract(self._audio(index), self.settings), self.texts[index])

    def __getitem__(self, draw: Draw) -> SpeechItem:
        audio, text = self._audio(draw.index), self.texts[draw.index]
        if self.augment is None:
            return self._item(draw.index, extract(audio, self.settings), text)
        rng = np.random.default_rng(draw.seed)
        audio, text = self._joined(audio, text, self.augment, rng)
        features = extract(vary_audio(audio, self.augment, rng, max_samples=self._max_samples), self.settings)
        return self._item(draw.index, mask_features(features, self.settings, self.augment, rng), text)

    def collate(self, items: list[SpeechItem]) -> CtcBatch:
        """Pad with zeros on the right."""
        return CtcBatch(
            inputs=pad_sequence([item.features for item in items], batch_first=True),
            num_frames=torch.tensor([len(item.features) for item in items]),
            labels=pad_sequence([item.labels for item in items], batch_first=True),
            num_labels=torch.tensor([len(item.labels) for item in items]),
            ids=tuple(item.id for item in items),
        )

    def _item(self, index: int, features: Tensor, text: str) -> SpeechItem:
        clip = self.clips[index]
        try:
            labels = self.vocabulary.encode(text)
        except LabelError as error:
            raise LabelError(
                f"clip '{clip.id}' ({clip.path}): {error}; leave the clip out or extend the vocabulary"
            ) from None
        return SpeechItem(clip.id, features, torch.tensor(labels, dtype=torch.int64))

    def _joined(self, audio: Audio, text: str, config: AugmentConfig, rng: np.random.Generator) -> tuple[Audio, str]:
        """The clip, sometimes followed by another short one; one that can't be read is reported at its own turn."""
        limit = int(config.join_max_seconds * SAMPLE_RATE_HZ)
        other = int(rng.integers(len(self.clips)))
        if rng.random() >= config.join_probability or len(audio) + self.num_samples[other] > limit:
            return audio, text
        try:
            return np.concatenate([audio, self._audio(other)]), f"{text} {self.texts[other]}"
        except UserError:
            return audio, text

    def _audio(self, index: int) -> Audio:
        if index in self._cache:
            return self._cache[index]
        audio = self._read(self.clips[index])
        if self._cache_samples >= len(audio):
            self._cache_samples -= len(audio)
            self._cache[index] = audio
        return audio


def normalised_text(clip: Clip, normaliser: Normaliser | None = None) -> str:
    """The transcript as the model is to write it."""
    return (normaliser or for_language(clip.language))(clip.text)


def read_clip(clip: Clip) -> Audio:
    """Decode a clip: (S,) float32 in [-1, 1], 16 kHz mono."""
    from signwave.media.audio import read_audio

    return read_audio(clip.path, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds)


def _num_samples(clip: Clip) -> int:
    seconds = clip.duration_seconds
    if seconds is None:
        raise ConfigError(f"clip '{clip.id}' has no length; make the manifest with `asr prepare`, which measures it")
    return max(1, round(seconds * SAMPLE_RATE_HZ))


@dataclass
class SpeechDataConfig:
    """A prepared corpus: the folder that `asr prepare` wrote, with train, dev and, for the figures, test."""

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
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def clips(self, split: str) -> list[Clip]:
        """Rows of a split.

        Raises:
            ConfigError: the folder or the split is missing; says which command makes it.
        """
        path = Path(self.manifest_dir) / f"{split}.jsonl.gz"
        if not self.manifest_dir or not path.is_file():
            raise ConfigError(f"data.manifest_dir={self.manifest_dir}: no {split}.jsonl.gz there; make it with: "
                              f"{self.how_to_prepare} {self.manifest_dir or 'OUT_DIR'}")  # fmt: skip
        rows = [clip for clip in manifest.read(path) if self.language in ("", clip.language)]
        return [clip for clip in rows if split != "train" or (clip.duration_seconds or 0.0) <= self.max_seconds]

    def build(self, settings: FeatureSettings, *, budget: int, seed: int = 0, num_workers: int = 0) -> "SpeechData":
        """Read the manifests and make the splits.

        Args:
            settings: features the encoder takes.
            budget: feature frames (samples for waveforms) of a padded batch.
            seed: of order and augmentation.
            num_workers: loader processes a split.
        """
        clips = {split: self.clips(split) for split in SPLITS}
        return _speech_data(clips, self, settings, read=None, budget=budget, seed=seed, num_workers=num_workers)


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

    def build(self, settings: FeatureSettings, *, budget: int, seed: int = 0, num_workers: int = 0) -> "SpeechData":
        """Like the real one, with sound that is computed."""
        clips = {split: self.clips(split) for split in SPLITS}
        return _speech_data(clips, self, settings, read=tone_audio, budget=budget, seed=seed, num_workers=num_workers)


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
        vocabulary: characters of the training texts.
        normaliser: of the corpus' language, or the one for any language where there are several.
        lm_texts: normalised training texts.
        groups: clip id → groups for the figures: its language, where there are several.
        info: facts about the data for the bundle.
    """

    vocabulary: Vocabulary
    normaliser: Normaliser
    lm_texts: list[str]
    groups: dict[str, tuple[str, ...]]
    info: dict[str, Any]


def _speech_data(
    clips: dict[str, list[Clip]], config: SpeechDataConfig, settings: FeatureSettings, *,
    read: ReadAudio | None, budget: int, seed: int, num_workers: int,
) -> SpeechData:  # fmt: skip
    languages = sorted({clip.language for clip in clips["train"]})
    texts = [normalised_text(clip) for clip in clips["train"]]
    vocabulary = Vocabulary.build(texts, unit="char")
    train, dev, test = (
        SpeechDataset(
            _spellable(clips[split], vocabulary), vocabulary=vocabulary, settings=settings, read=read,
            augment=config.augment if split == "train" else None, cache_hours=config.cache_hours,
            max_seconds=config.max_seconds,
        )
        for split in SPLITS
    )  # fmt: skip
    data = SpeechData(
        train,
        dev,
        test,
        budget=budget,
        seed=seed,
        num_workers=num_workers,
        rate_hz=SAMPLE_RATE_HZ / settings.samples_per_frame,
    )
    data.vocabulary, data.lm_texts = vocabulary, train.texts
    data.normaliser = for_language(languages[0]) if len(languages) == 1 else ANY
    data.groups = {clip.id: _groups(clip) for clip in test.clips} if len(languages) > 1 else {}
    data.info = {
        "language": languages[0] if len(languages) == 1 else "", "languages": languages,
        "hours_train": round(train.hours, 4),
        "num_clips_train": len(train), "normalisers": {code: for_language(code).to_dict() for code in languages},
        "num_test_texts_in_train": len(set(test.texts) & set(train.texts)),
        "num_test_clips_left_out": len(clips["test"]) - len(test),
    }  # fmt: skip
    return data


def _spellable(clips: list[Clip], vocabulary: Vocabulary) -> list[Clip]:
    """Clips whose text the vocabulary can spell; the others are named in the log."""
    kept = []
    for clip in clips:
        unknown = vocabulary.unknown(normalised_text(clip))
        if unknown:
            log.warning(
                "clip '%s' left out: its text holds %s, which no training text does", clip.id, sorted(set(unknown))
            )
        else:
            kept.append(clip)
    return kept


def _groups(clip: Clip) -> tuple[str, ...]:
    """Language, and language with the voice."""
    variant = clip.person.partition("+")[2]
    return (clip.language, f"{clip.language}_{variant}") if variant else (clip.language,)
