"""Clips of one split as items of a batch, with augmentation that is seeded per clip and epoch.

Augmentation acts on audio (joining clips, speed, level, rooms, noise) and on features (SpecAugment), in this order, and
only in training. All of it is drawn from the seed of the draw, so a resumed run sees the same clips as an uninterrupted
one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.augment import NOTHING, Audio, AugmentConfig, Surroundings, mask_features, vary_audio
from asr.features import SAMPLE_RATE_HZ, FeatureSettings, extract
from asr.text import for_language
from asr.tokenizers.tokenizer import Tokenizer
from signwave.errors import ConfigError, LabelError, UserError
from signwave.manifest import Clip
from signwave.sampling import Draw
from signwave.text import Normaliser, Vocabulary
from signwave.training.ctc_module import CtcBatch

ReadAudio = Callable[[Clip], Audio]


@dataclass(frozen=True, repr=False)
class SpeechBatch(CtcBatch):
    """Clips of a batch.

    seeds: (B,) int64, of each clip's draw: masks over the encoder's states depend on them alone.
    masked_steps: (B, T) bool, where the encoder's states are masked, or None.
    masked_channels: (B, D) bool, or None.
    """

    seeds: Tensor
    masked_steps: Tensor | None = None
    masked_channels: Tensor | None = None


class SpeechItem(NamedTuple):
    """One clip ready for a batch.

    features: (S,) float32 or (T, D) float32.
    labels: (N,) int64.
    seed: of the draw; 0 for a clip as it is.
    """

    id: str
    features: Tensor
    labels: Tensor
    seed: int = 0


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
        tokenizer: cuts the texts into the tokens of the vocabulary; None where these are characters or words.
        vary_cuts: with augmentation, cut a text differently at each draw (subword regularisation).
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
        tokenizer: Tokenizer | None = None,
        vary_cuts: bool = False,
    ) -> None:
        self.clips = list(clips)
        self.vocabulary = vocabulary
        self.settings = settings
        self.augment = augment
        self.texts = [normalised_text(clip, normaliser) for clip in self.clips]
        """Normalised transcripts, in the order of the clips."""
        self._surroundings = Surroundings.of(augment) if augment else NOTHING
        self._read = read or read_clip
        self._tokenizer, self._vary_cuts = tokenizer, vary_cuts
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
            return self._item(draw.index, extract(audio, self.settings), text, seed=draw.seed)
        rng = np.random.default_rng(draw.seed)
        audio, text = self._joined(audio, text, self.augment, rng)
        audio = vary_audio(audio, self.augment, rng, max_samples=self._max_samples, surroundings=self._surroundings)
        features = mask_features(extract(audio, self.settings), self.settings, self.augment, rng)
        return self._item(draw.index, features, text, seed=draw.seed, rng=rng if self._vary_cuts else None)

    def collate(self, items: list[SpeechItem]) -> SpeechBatch:
        """Pad with zeros on the right."""
        return SpeechBatch(
            inputs=pad_sequence([item.features for item in items], batch_first=True),
            num_frames=torch.tensor([len(item.features) for item in items]),
            labels=pad_sequence([item.labels for item in items], batch_first=True),
            num_labels=torch.tensor([len(item.labels) for item in items]),
            ids=tuple(item.id for item in items),
            seeds=torch.tensor([item.seed for item in items]),
        )

    def encode(self, text: str, rng: np.random.Generator | None = None) -> list[int]:
        """Labels of a normalised text.

        Args:
            text: to be said.
            rng: draws one of several cuts; None = the best one.

        Raises:
            LabelError: the vocabulary can't spell it.
        """
        return self.vocabulary.encode(text) if self._tokenizer is None else self._tokenizer.encode(text, rng)

    def _item(
        self, index: int, features: Tensor, text: str, *, seed: int = 0, rng: np.random.Generator | None = None
    ) -> SpeechItem:
        clip = self.clips[index]
        try:
            labels = self.encode(text, rng)
        except LabelError as error:
            raise LabelError(
                f"clip '{clip.id}' ({clip.path}): {error}; leave the clip out or extend the vocabulary"
            ) from None
        return SpeechItem(clip.id, features, torch.tensor(labels, dtype=torch.int64), seed)

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
