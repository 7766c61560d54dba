"""What every recipe of continuous recognition shares: a prepared corpus, a model, and how they are trained."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from signwave.errors import ConfigError
from signwave.recipe import Parts, Recipe
from signwave.training.ctc_module import Optimiser
from signwave.training.schedules import Schedule
from slr.medium import TRUNKS
from slr.training.auxiliary import AuxiliaryConfig
from slr.training.corpus import CorpusConfig
from slr.training.decoder_choice import GlossLmConfig

if TYPE_CHECKING:
    from slr.training.auxiliary import AuxiliaryCorpus
    from slr.training.recognition import SignRecognition

AnyRecognition = TypeVar("AnyRecognition", bound="RecognitionRecipe")


@dataclass
class OptimiserConfig:
    """The optimiser; the defaults are TwoStream-SLR's."""

    name: Optimiser = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.998
    schedule: Schedule = "cosine"
    milestones: list[float] = field(default_factory=lambda: [0.5, 0.875])
    """For schedule "steps": shares of the run after which the rate falls."""
    milestone_factor: float = 0.2
    warmup_steps: int = 0


@dataclass
class RecognitionRecipe(Recipe):
    """A corpus and a model. A recipe derives from it and gives `model` a config type of slr.models.

    The batch of the optimiser is data.max_items × train.accumulate_grad_batches × devices; none of the models' norms
    needs to see more than one clip, so eight clips on one GPU equal eight GPUs with a clip each but for batch norm.
    """

    data: CorpusConfig = field(default_factory=CorpusConfig)
    model: Any = None
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    lm: GlossLmConfig = field(default_factory=GlossLmConfig)
    weights_path: str = ""
    """torchvision's weights of the backbone, a local file (ResNet: ImageNet, S3D: Kinetics); "" starts from chance."""
    protocols: list[str] = field(default_factory=lambda: ["plain"])
    """How dev and test are scored, see `slr score`; the first is the one that is shown."""
    entropy_weight: float = 0.0
    """Weight of an entropy term against peaky posteriors."""
    prior_alpha: float = 0.0
    """Power of the label priors against peaky posteriors; 0.3 is usual."""
    initial_run: str = ""
    """Run or bundle folder whose weights are the start: of the same model settings; where its glosses are others, the
    output layers start anew."""
    auxiliary: AuxiliaryConfig = field(default_factory=AuxiliaryConfig)
    """Other corpora that are trained on beside the target."""

    def build(self) -> Parts:
        """The corpus, the model for its glosses, and the module that trains it."""
        corpus = self.data.load()
        others = self.auxiliary.load(corpus.vocabulary, target_manifest=corpus.train_manifest)
        model = self.model.build(vocab_size=corpus.vocabulary.size)
        self.initialise(model)
        if self.initial_run:
            from slr.training.starting import start_from

            start_from(model, self.initial_run, corpus.vocabulary)
        data = corpus.batches(
            reads=model.reads,
            stride=model.stride,
            seed=self.seed,
            budget=self.train.budget,
            num_workers=self.train.num_workers,
            auxiliary=others,
            mixing=self.auxiliary,
        )
        size_px = {"size_px": [self.data.height_px, self.data.width_px]} if "frames" in model.reads else {}
        module = self._module(
            model,
            others,
            train_texts=corpus.train_texts,
            augmentation=self.data.augmentation,
            keypoint_augmentation=self.data.keypoint_augmentation,
            lm=self.lm,
            protocols=self.protocols,
            entropy_weight=self.entropy_weight,
            prior_alpha=self.prior_alpha,
            vocabulary=corpus.vocabulary,
            optimiser=self.optimiser.name,
            learning_rate=self.optimiser.learning_rate,
            weight_decay=self.optimiser.weight_decay,
            betas=(self.optimiser.beta1, self.optimiser.beta2),
            schedule=self.optimiser.schedule,
            milestones=self.optimiser.milestones,
            milestone_factor=self.optimiser.milestone_factor,
            warmup_steps=self.optimiser.warmup_steps,
            bundle_kind=kind_of(model),
            bundle_config=bundle_config(self.model, vocab_size=corpus.vocabulary.size),
            bundle_info={"name": self.name, "rate_hz": self.data.rate_hz, **size_px},
        )
        return data, module

    def _module(self, model: Any, others: "list[AuxiliaryCorpus]", **options: Any) -> "SignRecognition":
        from signwave.mixing import Ramp
        from slr.training.mixed_recognition import MixedRecognition
        from slr.training.recognition import SignRecognition

        if not others:
            return SignRecognition(model, **options)
        return MixedRecognition(model, auxiliary=others, weight=Ramp(self.auxiliary.weight), **options)

    def initialise(self, model: Any) -> None:
        """Give the new model the weights that it starts from.

        Raises:
            ConfigError: layers are to stay as they are loaded, and nothing is loaded.
        """
        if self.weights_path:
            model.load_backbone(self.weights_path)
        settings = [name for name in vars(self.model) if name.startswith("freeze_") and getattr(self.model, name)]
        frozen = [name for name in settings if not self.starts_trained(name)]
        if frozen:
            raise ConfigError(
                f"model.{frozen[0]}={getattr(self.model, frozen[0])} keeps layers as they are loaded, and nothing is "
                f"loaded; give weights_path=FILE, or model.{frozen[0]}=0"
            )

    def starts_trained(self, setting: str) -> bool:
        """Whether the layers that a setting of the model freezes start from weights."""
        del setting
        return bool(self.weights_path or self.initial_run)

    def smoke(self: AnyRecognition) -> AnyRecognition:
        """Two steps on moving squares that are made up in memory."""
        from slr.datasets.moving_squares import MovingSquares

        small, squares, model = super().smoke(), MovingSquares(), self.model
        tiny = {
            "width": 0.125, "head_dim": 32, "feedforward_dim": 32, "base_channels": 8, "dim": 32, "sigma_px": 1.0,
            "heatmap_height_px": squares.height_px // 2, "heatmap_width_px": squares.width_px // 2,
        }  # fmt: skip
        tiny |= {name: 0 for name in vars(model) if name.startswith("freeze_")}
        model = dataclasses.replace(model, **{name: value for name, value in tiny.items() if hasattr(model, name)})
        train = dataclasses.replace(small.train, budget=200)
        return dataclasses.replace(
            small, data=squares, model=model, train=train, initial_run="", auxiliary=AuxiliaryConfig()
        )


@dataclass
class TwoStreamRecipe(RecognitionRecipe):
    """A model of two streams, each of which may begin as it was trained alone."""

    frames_run: str = ""
    """Run or bundle folder of the stream of frames."""
    keypoints_run: str = ""
    """Run or bundle folder of the stream of keypoints."""

    def starts_trained(self, setting: str) -> bool:
        """Whether the layers that a setting of the model freezes start from weights: each stream has its own run."""
        return bool(
            self.weights_path or self.initial_run or (self.keypoints_run if "pose" in setting else self.frames_run)
        )

    def initialise(self, model: Any) -> None:
        """Give each stream the weights of its own run."""
        super().initialise(model)
        from signwave import bundle

        for name, folder in (("rgb", self.frames_run), ("pose", self.keypoints_run)):
            if folder:
                model.load_stream(bundle.load(folder).state_dict(), name)


def kind_of(model: Any) -> str:
    """The bundle kind of a model, see slr.medium.TRUNKS."""
    (kind,) = (name for name, kind in TRUNKS.items() if kind.name == type(model).__name__)
    return kind


def bundle_config(config: Any, *, vocab_size: int) -> dict[str, Any]:
    """Plain values from which a bundle builds its model again."""
    return dataclasses.asdict(config) | {"vocab_size": vocab_size}
