"""What every recipe of an isolated recogniser shares: dictionaries of several languages, a trunk, and its training."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from signwave.errors import ConfigError, UserError
from signwave.recipe import Parts, Recipe
from slr.isolated.losses import BagLossConfig
from slr.keypoints.augmentation import KeypointAugmentation
from slr.training.augmentation import FrameAugmentation
from slr.training.recipe import OptimiserConfig, kind_of

if TYPE_CHECKING:
    import torch

    from slr.crosslingual.signs import Splits
    from slr.isolated.bags import Balance, Dictionary, Windows
    from slr.reading import Needs

AnyIsolated = TypeVar("AnyIsolated", bound="IsolatedRecipe")


@dataclass
class DictionariesConfig:
    """The dictionaries, and how bags are drawn from them."""

    languages: dict[str, str] = field(default_factory=dict)
    """Name → table of `slr align` (.parquet), manifest of an isolated corpus, whose clips have one gloss each, or
    folder of `slr prepare` with such manifests, whose own splits are then kept."""
    rate_hz: float = 25.0
    height_px: int = 224
    width_px: int = 224
    window_frames: int = 16
    num_bags: int = 4
    """Bags a batch, of one language."""
    num_instances: int = 6
    """Windows a bag."""
    evaluation_instances: int = 3
    balance: str = "square_root"
    """How often a gloss is drawn: square_root of its signs, class (all alike) or natural (by its signs)."""
    tempo: float = 1.25
    """Windows are drawn at a tempo of 1 / tempo to tempo."""
    inside: bool = False
    """Windows lie within their sign, where it is as long as one: for spans that are windows themselves, as those of
    `slr spot`. Else only their centres do."""
    dev_share: float = 0.1
    """Share of the clips whose signs choose the weights and calibrate; split by clip, never by sign. Not for a folder
    with a dev split of its own."""
    test_share: float = 0.1
    """Share of the clips whose signs are only measured. Not for a folder with a test split of its own."""
    min_mean_posterior: float = 0.0
    """Segments that the aligner was less sure of are left out."""
    min_instances: int = 1
    """Glosses with fewer training signs are left out; dev and test signs of them are counted, not measured."""
    augment: bool = True
    augmentation: FrameAugmentation = field(default_factory=FrameAugmentation)
    keypoint_augmentation: KeypointAugmentation = field(default_factory=KeypointAugmentation)

    def __post_init__(self) -> None:
        if self.balance not in ("square_root", "class", "natural"):
            raise ConfigError(f"data.balance={self.balance}: allowed are square_root, class and natural")
        if min(self.num_bags, self.num_instances, self.evaluation_instances, self.window_frames) < 1 or self.tempo < 1:
            raise ConfigError(
                "data: num_bags, num_instances, evaluation_instances, window_frames and tempo must be at least 1"
            )
        if not 0 <= self.dev_share < 1 or not 0 <= self.test_share < 1:
            raise ConfigError(f"data.dev_share and test_share must be in [0, 1): {self.dev_share}, {self.test_share}")

    def load(self) -> "list[Splits]":
        """Read the dictionaries."""
        from slr.crosslingual.signs import load_splits

        if not self.languages:
            raise UserError(
                "data.languages is empty; give a table, a manifest or a folder of `slr prepare` for each language: "
                "data.languages.NAME=FILE.parquet"
            )
        return [
            load_splits(path, name=name, min_mean_posterior=self.min_mean_posterior)
            for name, path in self.languages.items()
        ]

    def windows(self, needs: "Needs") -> "Windows":
        """What reads the signs."""
        from slr.isolated.bags import Windows

        return Windows(needs, window_frames=self.window_frames, inside=self.inside)


@dataclass
class IsolatedRecipe(Recipe):
    """Dictionaries and a trunk. A recipe derives from it and gives `model` a config type of slr.models."""

    data: DictionariesConfig = field(default_factory=DictionariesConfig)
    model: Any = None
    classifier: str = "cosine"
    """cosine or linear."""
    scale: float = 30.0
    """Of cosines."""
    dropout: float = 0.1
    losses: BagLossConfig = field(default_factory=BagLossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    word_vectors: dict[str, str] = field(default_factory=dict)
    """Language → text file of word vectors (.vec); label smoothing then goes to words that mean alike."""
    weights_path: str = ""
    """torchvision's weights of the backbone, a local file."""
    initial_run: str = ""
    """Run or bundle folder of a recogniser of sentences with the same model settings; its trunk is the start."""

    def build(self) -> Parts:
        """The data and the module."""
        import torch

        from signwave.training.data import DataModule
        from slr.isolated.bags import EvaluationBags, TrainBags
        from slr.isolated.losses import read_vectors, soft_targets
        from slr.isolated.model import IsolatedSigns
        from slr.isolated.module import IsolatedTraining, make_targets
        from slr.isolated.splitting import split
        from slr.reading import Needs

        loaded = self.data.load()
        splits = [split(one, self.data, self.seed, classes=self.classes(one)) for one in loaded]
        train = [parts[0] for parts in splits]
        trunk = self.model.build(vocab_size=2)
        config: dict[str, Any] = {
            "trunk_kind": kind_of(trunk),
            "trunk": {**dataclasses.asdict(self.model), "vocab_size": 2},
            "num_classes": {one.name: len(one.glosses) for one in train},
            "classifier": self.classifier,
            "scale": self.scale,
            "dropout": self.dropout,
        }
        model = IsolatedSigns(**config)
        self.initialise(model)
        size_px = (self.data.height_px, self.data.width_px) if "frames" in model.reads else None
        windows = self.data.windows(Needs(model.reads, self.data.rate_hz, size_px))
        balance: Balance = self.data.balance  # type: ignore[assignment]  # checked by the config
        bags = TrainBags(
            train, windows, num_bags=self.data.num_bags, num_instances=self.data.num_instances, balance=balance,
            tempo=self.data.tempo,
        )  # fmt: skip
        held_out = [
            EvaluationBags([parts[number] for parts in splits], windows, num_instances=self.data.evaluation_instances)
            for number in (1, 2)
        ]
        dev, test = (part if len(part) else None for part in held_out)
        data = DataModule(
            bags, dev, test or dev, budget=max(max(part.lengths) for part in (bags, dev, test) if part is not None),
            seed=self.seed, num_workers=self.train.num_workers, max_items=1, rate_hz=self.data.rate_hz,
        )  # fmt: skip
        vectors = {name: read_vectors(path) for name, path in self.word_vectors.items()}

        def targets(one: "Dictionary") -> torch.Tensor:
            smoothing, temperature = self.losses.label_smoothing, self.losses.similarity_temperature
            return soft_targets(
                one.glosses, smoothing=smoothing, vectors=vectors.get(one.name), temperature=temperature
            )

        settings = self.optimiser
        module = IsolatedTraining(
            model,
            dictionaries={one.name: (parts[1], parts[2]) for one, parts in zip(train, splits, strict=True)},
            targets=make_targets(train, targets),
            losses=self.losses,
            optimiser=self.make_optimiser,
            schedule=settings.schedule,
            warmup_steps=settings.warmup_steps,
            augmentation=self.data.augmentation if self.data.augment else None,
            keypoint_augmentation=self.data.keypoint_augmentation if self.data.augment else None,
            bundle_config=config,
            bundle_info={
                "name": self.name,
                "rate_hz": self.data.rate_hz,
                "window_frames": self.data.window_frames,
                "evaluation_instances": self.data.evaluation_instances,
                "glosses": {one.name: list(one.glosses) for one in train},
                "sources": {one.train.name: _source(one) for one in loaded},
                **({"size_px": list(size_px)} if size_px else {}),
            },
        )
        return data, module

    def smoke(self: AnyIsolated) -> AnyIsolated:
        """Two steps on signs that are made up in memory."""
        from slr.isolated.made_up import MovingSigns

        small, made, model = super().smoke(), MovingSigns(), self.model
        tiny = {
            "width": 0.125, "head_dim": 32, "feedforward_dim": 32, "dim": 32,
            "sigma_px": 1.0, "heatmap_height_px": made.height_px // 2, "heatmap_width_px": made.width_px // 2,
        }  # fmt: skip
        model = dataclasses.replace(model, **{name: value for name, value in tiny.items() if hasattr(model, name)})
        train = dataclasses.replace(small.train, num_workers=0)  # processes take longer to start than this to read
        return dataclasses.replace(small, data=made, model=model, train=train)

    def classes(self, splits: "Splits") -> tuple[str, ...] | None:
        """Glosses that the classifier of a language has, the blank first; None for those of its training signs."""
        del splits
        return None

    def make_optimiser(self, parameters: Any) -> "torch.optim.Optimizer":
        """The optimiser of some parameters."""
        import torch

        settings = self.optimiser
        kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
        return kind(
            parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            betas=(settings.beta1, settings.beta2),
        )

    def initialise(self, model: Any) -> None:
        """Give the new model the weights that it starts from.

        Raises:
            ConfigError: they don't fit.
        """
        if self.weights_path:
            if not hasattr(model.trunk, "load_backbone"):
                raise ConfigError(f"weights_path={self.weights_path}: this model has no backbone to load; leave it out")
            model.trunk.load_backbone(self.weights_path)
        if self.initial_run:
            from slr.training.starting import take_weights

            take_weights(model.trunk, self.initial_run, list(model.trunk.state_dict()))


def _source(splits: "Splits") -> dict[str, str]:
    """What the bundle says of a dictionary, for those who look for it again."""
    return {"path": splits.train.source, "sha256": splits.train.sha256}
