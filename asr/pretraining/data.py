"""Untranscribed speech for pretraining: random crops of a manifest's clips, donor languages mixed in, held-out audio.

A crop is drawn from the seed of its draw and only that part of the file is decoded, so an hour-long recording costs
what its crop costs. Silent and damaged clips are reported and left out by the stream of batches.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.augment import Audio
from asr.data import ReadAudio, ToneDataConfig, read_clip, tone_audio
from asr.features import SAMPLE_RATE_HZ, FeatureSettings, extract
from asr.pretraining.best_rq import target_features
from signwave import manifest
from signwave.batch import Batch
from signwave.errors import ConfigError, MediaError
from signwave.manifest import Clip
from signwave.mixing import Ramp
from signwave.sampling import Draw
from signwave.training.data import DataModule
from signwave.training.mixed_data import MixedData

log = logging.getLogger(__name__)

_SILENT_STD = 1e-4
"""-80 dB: a recording of nothing. Normalised to unit variance it would be loud noise."""


@dataclass(frozen=True, repr=False)
class PretrainingBatch(Batch):
    """Crops of untranscribed speech.

    inputs: (B, S) float32 waveform or (B, T, D) float32 features, zero past num_frames.
    num_frames: (B,) int64.
    targets: (B, T', 160) float32 frames for BEST-RQ, the last one of a clip repeated; or None.
    seeds: B seeds of the draws: masks and noise of the batch depend on them alone.
    ids: B clip ids.
    languages: B codes.
    """

    inputs: Tensor
    num_frames: Tensor
    targets: Tensor | None
    seeds: tuple[int, ...]
    ids: tuple[str, ...]
    languages: tuple[str, ...]


class PretrainingItem(NamedTuple):
    """One crop: features as `PretrainingBatch.inputs` holds them, and frames for BEST-RQ or None."""

    clip: Clip
    features: Tensor
    targets: Tensor | None
    seed: int


class PretrainingDataset:
    """Crops of clips.

    Args:
        clips: rows of a manifest whose lengths are known; transcripts aren't looked at.
        settings: features the encoder takes.
        max_seconds: of a crop.
        with_targets: compute frames for BEST-RQ.
        read: gives (S,) float32 audio at 16 kHz of a clip's span; default reads the file.
        cache_hours: keep up to this much decoded audio of clips that aren't cropped, in each loader process.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        settings: FeatureSettings,
        max_seconds: float,
        with_targets: bool = False,
        read: ReadAudio | None = None,
        cache_hours: float = 0.0,
    ) -> None:
        self.clips = list(clips)
        self.settings = settings
        self.max_seconds = max_seconds
        self.with_targets = with_targets
        self._read = read or read_clip
        self._cache: dict[int, Audio] = {}
        self._cache_samples = int(cache_hours * 3600 * SAMPLE_RATE_HZ)
        self.num_samples = [round(min(_seconds(clip), max_seconds) * SAMPLE_RATE_HZ) for clip in self.clips]
        """16 kHz samples of each crop."""

    @property
    def lengths(self) -> list[int]:
        """Samples or feature frames of each crop: what a batch's budget counts."""
        return [self.settings.num_frames(size) for size in self.num_samples]

    @property
    def hours(self) -> float:
        """Length of all clips, uncropped."""
        return sum(map(_seconds, self.clips)) / 3600

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> PretrainingItem:
        clip, audio = self.clips[draw.index], self._crop(draw)
        if len(audio) == 0 or float(audio.std()) < _SILENT_STD:
            raise MediaError(clip.path, f"clip '{clip.id}' is silent; leave it out of the manifest")
        targets = target_features(audio) if self.with_targets else None
        return PretrainingItem(clip, extract(audio, self.settings), targets, draw.seed)

    def collate(self, items: list[PretrainingItem]) -> PretrainingBatch:
        """Pad on the right."""
        targets = [item.targets for item in items if item.targets is not None]
        most = max((len(one) for one in targets), default=0)
        repeated = [one[torch.arange(most).clamp(max=len(one) - 1)] for one in targets]
        return PretrainingBatch(
            inputs=pad_sequence([item.features for item in items], batch_first=True),
            num_frames=torch.tensor([len(item.features) for item in items]),
            targets=torch.stack(repeated) if repeated else None,
            seeds=tuple(item.seed for item in items),
            ids=tuple(item.clip.id for item in items),
            languages=tuple(item.clip.language for item in items),
        )

    def _crop(self, draw: Draw) -> Audio:
        clip = self.clips[draw.index]
        spare = _seconds(clip) - self.max_seconds
        if spare <= 0:
            return self._whole(draw.index)
        start = clip.start_seconds + float(np.random.default_rng(draw.seed).uniform(0.0, spare))
        return self._read(replace(clip, start_seconds=start, end_seconds=start + self.max_seconds))

    def _whole(self, index: int) -> Audio:
        if index in self._cache:
            return self._cache[index]
        audio = self._read(self.clips[index])
        if self._cache_samples >= len(audio):
            self._cache_samples -= len(audio)
            self._cache[index] = audio
        return audio


def _seconds(clip: Clip) -> float:
    seconds = clip.duration_seconds
    if seconds is None:
        raise ConfigError(f"clip '{clip.id}' has no length; make the manifest with `asr prepare`, which measures it")
    return seconds


@dataclass
class PretrainingDataConfig:
    """Prepared corpora: of the target languages, and of donor languages that must not be forgotten."""

    manifest_dir: str = ""
    """Folder with train.jsonl.gz and dev.jsonl.gz, as `asr prepare` and `asr collect` write them."""
    replay_dirs: dict[str, str] = field(default_factory=dict)
    """Name → such a folder of a donor language: mixed into training at replay_share, its dev split held out too."""
    replay_share: float = 0.1
    """Of the batches, once replay_dirs are given."""
    replay_alpha: float = 0.5
    """Replayed corpora are drawn by their number of clips to the power of this."""
    min_seconds: float = 2.0
    """Shorter clips are left out."""
    max_seconds: float = 20.0
    """Longer clips are cropped at random."""
    max_held_out_seconds: float = 1800.0
    """Of each dev split: enough for a loss, and validation stays short."""
    cache_hours: float = 2.0
    """Decoded audio that each loader process keeps in memory, 0.23 GB an hour."""

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ConfigError(
                "data: min_seconds must be above 0 and at most max_seconds, got "
                f"{self.min_seconds} and {self.max_seconds}"
            )
        if not 0 <= self.replay_share < 1:
            raise ConfigError(f"data.replay_share must be in [0, 1), got {self.replay_share}")

    def clips(self, folder: str, split: str) -> list[Clip]:
        """Rows of a split that are long enough.

        Raises:
            ConfigError: the folder or the split is missing, or nothing is left of it.
        """
        path = Path(folder) / f"{split}.jsonl.gz"
        if not folder or not path.is_file():
            raise ConfigError(
                f"data.manifest_dir={folder}: no {split}.jsonl.gz there; make it with: "
                f"asr prepare CORPUS RAW_DIR {folder or 'OUT_DIR'}"
            )
        rows = list(manifest.read(path))
        kept = [clip for clip in rows if _seconds(clip) >= self.min_seconds]
        if not kept:
            raise ConfigError(f"{path}: none of {len(rows)} clips lasts data.min_seconds={self.min_seconds:g}")
        if len(kept) < len(rows):
            log.warning(
                "%s: %d of %d clips left out, shorter than %g s", path, len(rows) - len(kept), len(rows),
                self.min_seconds,
            )  # fmt: skip
        return kept

    def build(
        self, settings: FeatureSettings, *, with_targets: bool, budget: int, seed: int = 0, num_workers: int = 0
    ) -> DataModule:
        """Read the manifests and make the splits; there is no test split.

        Args:
            settings: features the encoder takes.
            with_targets: compute frames for BEST-RQ.
            budget: samples or feature frames of a padded batch.
            seed: of order and crops.
            num_workers: loader processes a split.
        """

        def dataset(clips: list[Clip]) -> PretrainingDataset:
            return PretrainingDataset(clips, settings=settings, max_seconds=self.max_seconds, read=self._reader(),
                                      with_targets=with_targets, cache_hours=self.cache_hours)  # fmt: skip

        folders = [self.manifest_dir, *self.replay_dirs.values()]
        held_out = dataset([clip for folder in folders for clip in self._held_out(self.clips(folder, "dev"))])
        target = dataset(self.clips(self.manifest_dir, "train"))
        rate_hz = SAMPLE_RATE_HZ / settings.samples_per_frame
        if not self.replay_dirs or not self.replay_share:
            return DataModule(target, held_out, budget=budget, seed=seed, num_workers=num_workers, rate_hz=rate_hz)
        replayed = {name: dataset(self.clips(folder, "train")) for name, folder in self.replay_dirs.items()}
        return MixedData(
            target, held_out, None, auxiliary=replayed, share=Ramp([[0.0, self.replay_share]]),
            alpha=self.replay_alpha, budget=budget, seed=seed, num_workers=num_workers, rate_hz=rate_hz,
        )  # fmt: skip

    def _reader(self) -> ReadAudio:
        return read_clip

    def _held_out(self, clips: list[Clip]) -> list[Clip]:
        """Every n-th clip, so that no more than max_held_out_seconds are heard."""
        seconds = sum(min(_seconds(clip), self.max_seconds) for clip in clips)
        return clips[:: max(1, int(np.ceil(seconds / self.max_held_out_seconds)))]


@dataclass
class MadeUpAudioConfig(PretrainingDataConfig):
    """Tones instead of speech, in two languages, for trying a recipe."""

    min_seconds: float = 0.5
    max_seconds: float = 1.2

    def clips(self, folder: str, split: str) -> list[Clip]:
        """Rows without files."""
        rows = ToneDataConfig().clips(split)
        return [replace(clip, language="en" if number % 2 else "fa") for number, clip in enumerate(rows)]

    def _reader(self) -> ReadAudio:
        return _cropped_tones


def _cropped_tones(clip: Clip) -> Audio:
    span = slice(round(clip.start_seconds * SAMPLE_RATE_HZ), round((clip.end_seconds or 60.0) * SAMPLE_RATE_HZ))
    return tone_audio(clip)[span]
