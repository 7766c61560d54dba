"""The splits of a prepared corpus, as a recipe takes them: manifests in, batches and vocabulary out."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signwave import manifest
from signwave.errors import ConfigError, UserError
from signwave.manifest import Clip
from signwave.text import Vocabulary
from slr.keypoints.augmentation import KeypointAugmentation
from slr.models.interface import Reads
from slr.training.augmentation import FrameAugmentation

if TYPE_CHECKING:
    from signwave.training.data import DataModule
    from slr.reading import Needs
    from slr.training.auxiliary import AuxiliaryConfig, AuxiliaryCorpus
    from slr.training.data import ClipDataset, Reader

log = logging.getLogger(__name__)


@dataclass
class CorpusConfig:
    """A corpus that `slr prepare` wrote, and how its clips reach the model."""

    manifest_dir: str = ""
    """Folder with train.jsonl.gz, dev.jsonl.gz and test.jsonl.gz."""
    train_split: str = "train"
    dev_split: str = "dev"
    test_split: str = "test"
    rate_hz: float = 25.0
    height_px: int = 224
    width_px: int = 224
    fewest: float = 0.5
    """A training clip gets at least this many times its frames: its tempo changes."""
    most: float = 1.5
    """And at most this many times."""
    max_frames: int = 400
    """Longer training clips are sped up to this length."""
    max_items: int = 2
    """Clips a batch at most; train.accumulate_grad_batches makes the batch of the optimiser from several."""
    vocabulary_splits: list[str] = field(default_factory=lambda: ["train"])
    """Splits whose glosses are the vocabulary. VAC and its descendants take all three, which lets training know what
    only the test has; name them here to repeat that."""
    augment: bool = True
    augmentation: FrameAugmentation = field(default_factory=FrameAugmentation)
    keypoint_augmentation: KeypointAugmentation = field(default_factory=KeypointAugmentation)

    def __post_init__(self) -> None:
        if not 0 < self.fewest <= self.most or self.max_frames < 1 or self.max_items < 1:
            raise ConfigError(
                "data: need 0 < fewest <= most, and max_frames and max_items of at least 1; got "
                f"{self.fewest}, {self.most}, {self.max_frames} and {self.max_items}"
            )

    def load(self) -> "Corpus":
        """Read the manifests of the splits and build the vocabulary."""
        names = (self.train_split, self.dev_split, self.test_split)
        splits = {name: self._clips(name) for name in dict.fromkeys([*names, *self.vocabulary_splits])}
        silent = [name for name in names if not any(clip.text.split() for clip in splits[name])]
        if silent:
            raise UserError(
                f"{self.manifest_dir}: no clip of the split '{silent[0]}' has a gloss, so there is nothing to learn "
                "or score; fill in its glosses, or name another split"
            )
        texts = [clip.text for name in self.vocabulary_splits for clip in splits[name]]
        return Corpus(self, tuple(splits[name] for name in names), Vocabulary.build(texts))

    def _clips(self, split: str) -> list[Clip]:
        return split_clips(self.manifest_dir, split, setting="data.manifest_dir")


def split_path(folder: str | Path, split: str, *, setting: str) -> Path:
    """The manifest of a split in a prepared folder.

    Args:
        folder: what `slr prepare` wrote.
        split: its name.
        setting: that names the folder, for messages.

    Raises:
        UserError: there is none.
    """
    if not str(folder) or not Path(folder).is_dir():
        raise UserError(
            f"{setting}={str(folder) or '(empty)'}: no such folder; make it with `slr prepare CORPUS RAW OUT` and give "
            f"it: {setting}=OUT"
        )
    folder = Path(folder)
    found = [path for path in (folder / f"{split}.jsonl.gz", folder / f"{split}.jsonl") if path.is_file()]
    if not found:
        names = ", ".join(sorted(path.name for path in folder.glob("*.jsonl*") if "problems" not in path.name))
        raise UserError(f"{folder}: has no {split}.jsonl.gz; it has {names or 'no manifest'}; prepare the corpus")
    return found[0]


def split_clips(folder: str | Path, split: str, *, setting: str) -> list[Clip]:
    """The clips of a split; arguments and errors as for `split_path`."""
    return list(manifest.read(split_path(folder, split, setting=setting)))


@dataclass(frozen=True)
class Corpus:
    """The clips of the splits train, dev and test, and the glosses that a model tells apart."""

    config: CorpusConfig
    splits: tuple[list[Clip], ...] = field(repr=False)
    vocabulary: Vocabulary

    @property
    def train_texts(self) -> list[str]:
        """The glosses of the training clips."""
        return [clip.text for clip in self.splits[0]]

    def reader(self, needs: "Needs") -> "Reader | None":
        """What reads a clip, where it isn't its file."""

    @property
    def train_manifest(self) -> str:
        """Path of the training manifest; "" where the clips aren't from a file."""
        if not self.config.manifest_dir:
            return ""
        return str(split_path(self.config.manifest_dir, self.config.train_split, setting="data.manifest_dir"))

    def batches(
        self,
        *,
        reads: Reads,
        stride: int,
        seed: int,
        budget: int,
        num_workers: int = 0,
        auxiliary: "Sequence[AuxiliaryCorpus]" = (),
        mixing: "AuxiliaryConfig | None" = None,
    ) -> "DataModule":
        """The splits as a model reads them, training mixed with auxiliary corpora where there are any.

        Args:
            reads: what the model reads.
            stride: its input frames per step.
            seed: of the training order and of augmentation.
            budget: frames of a padded batch.
            num_workers: loader processes.
            auxiliary: corpora that are trained on beside this one.
            mixing: how often they are drawn.
        """
        from signwave.mixing import Ramp
        from signwave.training.data import DataModule
        from signwave.training.mixed_data import MixedData
        from slr.reading import Needs
        from slr.training.data import ClipDataset, Tempo

        config = self.config
        size_px = (config.height_px, config.width_px) if "frames" in reads else None
        needs = Needs(reads, config.rate_hz, size_px)
        common: dict[str, Any] = {"needs": needs, "stride": stride, "reader": self.reader(needs)}
        tempo = Tempo(config.fewest, config.most, config.max_frames) if config.augment else None
        varied: dict[str, Any] = {**common, "tempo": tempo, "augmented": config.augment}
        train = ClipDataset(self.splits[0], vocabulary=self.vocabulary, **varied)
        dev, test = (
            ClipDataset(clips, vocabulary=self.vocabulary, known_only=False, **common) for clips in self.splits[1:]
        )
        others = {
            corpus.name: ClipDataset(corpus.clips, vocabulary=corpus.labeller, corpus=corpus.name, **varied)
            for corpus in auxiliary
        }
        for dataset in (train, *others.values()):
            _warn_of_short(dataset, stride)
        options: dict[str, Any] = {
            "budget": budget, "seed": seed, "num_workers": num_workers, "max_items": config.max_items,
            "rate_hz": config.rate_hz,
        }  # fmt: skip
        if mixing is None or not others:
            return DataModule(train, dev, test, **options)
        return MixedData(train, dev, test, auxiliary=others, share=Ramp(mixing.share), alpha=mixing.alpha, **options)


def _warn_of_short(train: "ClipDataset", stride: int) -> None:
    """Say at the start which training clips can never fit their labels: the loss leaves them out and counts them."""
    from signwave.ctc import min_steps

    short = [
        clip.id
        for clip, labels, size in zip(train.clips, train.labels, train.num_frames, strict=True)
        if min_steps(labels) > -(-size // stride)
    ]
    if short:
        some = ", ".join(short[:3])
        whose = f" of {train.corpus}" if train.corpus else ""
        log.warning(
            "%d training clips%s have more glosses than steps (%s …); CTC leaves them out", len(short), whose, some
        )
