"""What every retrieval recipe shares: a captioned corpus with window features, two towers, and how they are trained."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from signwave.errors import ConfigError, UserError
from signwave.manifest import Clip
from signwave.recipe import Parts, Recipe
from slr.models.video_tower import WindowTowerConfig
from slr.retrieval.learning.loss import RetrievalLossConfig
from slr.retrieval.streams import StreamConfig
from slr.retrieval.text_config import TextTowerConfig
from slr.training.corpus import split_clips
from slr.training.recipe import OptimiserConfig

if TYPE_CHECKING:
    from slr.retrieval.learning.data import Captioned

AnyRetrieval = TypeVar("AnyRetrieval", bound="RetrievalRecipe")
SPLITS = ("train", "val", "test")


class ClipSource(NamedTuple):
    """Reads the clips of a corpus.

    Attributes:
        reader: gives the sign tower's input of a clip.
        dims: width of each stream.
        info: facts for the bundle: how windows lie, and the frame rate.
    """

    reader: Any
    dims: list[int]
    info: dict[str, Any]


@dataclass
class CaptionedCorpusConfig:
    """A prepared corpus with captions, and the features of its clips."""

    manifest_dir: str = ""
    """Folder with a manifest of each split, as `slr prepare` and `slr captions` write them."""
    train_split: str = "train"
    dev_split: str = "dev"
    test_split: str = "test"
    held_out: float = 0.0
    """For a corpus without splits: this share of the groups of train_split validates, and as much again tests."""
    streams: dict[str, StreamConfig] = field(default_factory=dict)
    """Name → caches of window features, with the clips of all splits: data.streams.rgb.features_dir=FOLDER."""
    group_by: str = "group"
    """Which clips perform the same sentence: group, as the manifest says, or clip, each its own (PHOENIX-2014T, whose
    groups are broadcasts)."""
    languages: list[str] = field(default_factory=list)
    """Languages of the captions; all of a group's are positives together. [] takes every language there is; [en] trains
    on English alone, CiCo's way of using translations."""
    variants: list[str] = field(default_factory=list)
    """Kinds of caption variants that train and are tested beside them, see `slr captions variants`."""
    performances: int = 2
    """P, clips of a group in a batch at most."""
    passes_per_epoch: int = 1
    """Items of each group in an epoch, each with other performances."""
    swap_probability: float = 0.5
    """Of swapping two words of a caption, for the word half of the loss; 0 never does."""
    num_groups: int = 128
    """Groups of a batch at most: each is a negative of all others. CiCo: 512."""

    def __post_init__(self) -> None:
        if min(self.performances, self.passes_per_epoch) < 1 or self.num_groups < 2:
            raise ConfigError("data: performances and passes_per_epoch must be at least 1, num_groups at least 2")
        if self.group_by not in ("group", "clip"):
            raise ConfigError(f"data.group_by={self.group_by}: allowed are group and clip")
        if not 0 <= self.held_out < 0.5:
            raise ConfigError(f"data.held_out must be in [0, 0.5), got {self.held_out}")
        if not 0 <= self.swap_probability <= 1:
            raise ConfigError(f"data.swap_probability must be in [0, 1], got {self.swap_probability}")

    def clips(self) -> dict[str, list[Clip]]:
        """The clips of training, validation and test."""
        if self.held_out > 0:
            everything = split_clips(self.manifest_dir, self.train_split, setting="data.manifest_dir")
            return hold_out(everything, self.held_out, by=self.group_by)
        names = (self.train_split, self.dev_split, self.test_split)
        return {
            split: split_clips(self.manifest_dir, name, setting="data.manifest_dir")
            for split, name in zip(SPLITS, names, strict=True)
        }

    def source(self, max_tokens: int) -> ClipSource:
        """What reads the clips."""
        from slr.retrieval.streams import Streams

        streams = Streams.open(self.streams, max_tokens=max_tokens)
        return ClipSource(streams, streams.dims, streams.info())

    def groups(self, source: ClipSource) -> "dict[str, list[Captioned]]":
        """The captioned groups of training, validation and test whose clips can be read."""
        from slr.retrieval.learning.data import group_clips, with_features

        found = {}
        for split, clips in self.clips().items():
            kept = with_features(clips, source.reader, split=split)
            by: Any = self.group_by  # checked above
            found[split] = group_clips(kept, languages=self.languages, variants=self.variants, by=by)
            if not found[split]:
                raise ConfigError(
                    f"{self.manifest_dir}: no clip of '{split}' has a caption"
                    f"{' in ' + ', '.join(self.languages) if self.languages else ''}; add some with `slr captions add`"
                )
        return found


@dataclass
class RetrievalRecipe(Recipe):
    """Text finds sign clips, and clips find texts."""

    data: CaptionedCorpusConfig = field(default_factory=CaptionedCorpusConfig)
    signs: WindowTowerConfig = field(default_factory=WindowTowerConfig)
    texts: TextTowerConfig = field(default_factory=TextTowerConfig)
    dim: int = 256
    """Width of the common space. With towers from CLIP, its own (512) starts from its projections."""
    loss: RetrievalLossConfig = field(default_factory=RetrievalLossConfig)
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(name="adamw", learning_rate=3e-4, weight_decay=0.01, warmup_steps=100)
    )
    tower_learning_rate: float | None = None
    """Of towers that start from pretrained weights (CiCo: 1e-5); null is the same as optimiser.learning_rate."""
    paper_protocol: bool = False
    """Also search the test split at every validation and report its best, as the field's papers do. For comparison
    only: weights are always chosen on validation."""
    encoders: list[str] = field(default_factory=list)
    """For each cache of each stream, in their order, what `slr features --encoder` was given; then the bundle reads
    videos or poses. []: it searches features and texts alone."""
    encoder_weights: list[str] = field(default_factory=list)
    """What `slr features --weights` was given, in the same order; "" where there were none."""

    def build(self) -> Parts:
        """The groups, the towers, and the module that trains them."""
        from signwave.training.data import DataModule
        from slr.models.towers import build_dual_encoder
        from slr.retrieval.evaluation.evaluate import measure_sentences
        from slr.retrieval.learning.data import ClipGallery, GroupBatches, queries_of
        from slr.retrieval.learning.deploying import NUM_CAPTIONS, NUM_EXAMPLES, Deployment
        from slr.retrieval.learning.module import TextVideoRetrieval

        source = self.data.source(self.signs.max_tokens)
        groups = self.data.groups(source)
        captions = [text for group in groups["train"] for texts in group.captions.values() for text in texts]
        reader = self.texts.reader(captions)
        settings: dict[str, Any] = {
            "dim": self.dim,
            "signs": {"kind": "windows", **self.signs.settings(source.dims)},
            "texts": self.texts.settings(reader),
        }
        model = build_dual_encoder(settings)
        pretrained = self._initialise(model)
        common = {"reader": source.reader, "num_windows": self.signs.max_tokens}
        train = GroupBatches(
            groups["train"], texts=reader, num_performances=self.data.performances, **common,
            num_passes=self.data.passes_per_epoch, swap_probability=self.data.swap_probability,
        )  # fmt: skip
        val, test = (ClipGallery({split: groups[split]}, **common) for split in SPLITS[1:])
        data = DataModule(
            train, val, test, budget=self.train.budget, seed=self.seed, num_workers=self.train.num_workers,
            max_items=self.data.num_groups, num_buckets=1,  # one bucket: a group must meet all others as negatives
        )  # fmt: skip
        clips = [clip for group in groups["train"] for clip in group.clips]
        deployment = Deployment(
            settings, reader, info={"name": self.name, **source.info}, loss=self.loss,
            captions=_some(captions, NUM_CAPTIONS),
            examples=lambda: [source.reader.read(clip) for clip in _some(clips, NUM_EXAMPLES)],
            encoders=self.encoders, weights=self.encoder_weights, streams=getattr(source.reader, "streams", ()),
        )  # fmt: skip
        module = TextVideoRetrieval(
            model,
            texts=reader,
            measure=measure_sentences,
            queries=[query for split in SPLITS[1:] for query in queries_of(split, groups[split])],
            loss=self.loss,
            learning_rate=self.optimiser.learning_rate,
            tower_learning_rate=self.tower_learning_rate,
            pretrained=pretrained,
            warmup_steps=self.optimiser.warmup_steps,
            weight_decay=self.optimiser.weight_decay,
            schedule=self.optimiser.schedule,
            export_to=lambda folder: deployment.write(folder, model),
            paper_protocol=self.paper_protocol,
        )
        return data, module

    def _initialise(self, model: Any) -> list[Any]:
        """Put pretrained weights into the towers and heads, and return the parts that got them."""
        parts = []
        if self.signs.clip_dir:
            from slr.models.clip_folder import load_clip

            model.signs.load_clip(self.signs.clip_dir)
            parts += [model.signs.encoder, model.signs.pre_layrnorm, model.signs.post_layernorm]
            parts += start_head(model.sign_head, load_clip(self.signs.clip_dir).vision_projection)
        if self.texts.kind == "transformer":
            from slr.models.text_tower import text_projection

            model.texts.load_folder(self.texts.dir)
            parts.append(model.texts)
            parts += start_head(model.text_head, text_projection(self.texts.dir, self.dim))
        return parts

    def smoke(self: AnyRetrieval) -> AnyRetrieval:
        """Two steps on window features that are made up in memory."""
        from slr.retrieval.learning.made_up import MadeUpWindows

        small = super().smoke()
        signs = dataclasses.replace(self.signs, clip_dir="", width=32, num_layers=1, num_heads=2, max_tokens=8)
        texts = dataclasses.replace(self.texts, kind="characters", dir="", width=32, num_layers=1, num_heads=2)
        return dataclasses.replace(
            small, data=MadeUpWindows(), signs=signs, texts=texts, dim=16, encoders=[], encoder_weights=[],
            train=dataclasses.replace(small.train, budget=2000),
        )  # fmt: skip


def hold_out(clips: list[Clip], share: float, *, by: str) -> dict[str, list[Clip]]:
    """Clips of training, validation and test, whole groups each, the same in every run.

    Raises:
        UserError: there are too few groups.
    """
    members: dict[str, list[Clip]] = {}
    for clip in clips:
        members.setdefault((clip.group if by == "group" else "") or clip.id, []).append(clip)
    order = sorted(members, key=lambda name: hashlib.sha256(name.encode()).digest())
    num = max(2, round(share * len(order)))
    if len(order) < 3 * num:
        raise UserError(f"data.held_out={share}: {len(order)} groups are too few to train, validate and test on")
    names = {"val": order[:num], "test": order[num : 2 * num], "train": order[2 * num :]}
    return {split: [clip for name in names[split] for clip in members[name]] for split in SPLITS}


def _some(items: list[Any], most: int) -> list[Any]:
    """At most so many items, spread evenly."""
    return items[:: max(1, len(items) // most)][:most]


def start_head(head: Any, projection: Any) -> list[Any]:
    """Let a head's tokens begin as a projection (D, width), where it fits; returns the part that did."""
    import torch

    if projection is None or projection.shape != head.tokens.weight.shape:
        return []
    with torch.no_grad():
        head.tokens.weight.copy_(projection)
        head.tokens.bias.zero_()
    return [head.tokens]
