"""What a pretraining recipe can set beside its data: the donor and the objective."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from asr.features import FeatureSettings
from asr.models.speech_ctc import load_encoder, read_donor_config
from asr.pretraining.best_rq import BestRqObjective
from asr.pretraining.contrastive import ContrastiveObjective
from asr.pretraining.encoders import MaskedEncoder, build_masked_encoder
from asr.pretraining.masking import SpanSettings
from signwave.errors import ArtefactError, ConfigError

Objective: TypeAlias = ContrastiveObjective | BestRqObjective

INFO_FILE = "pretraining.json"
"""Beside an exported encoder: what a later run continues from."""

TINY: dict[str, Any] = {
    "model_type": "wav2vec2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
    "num_codevectors_per_group": 16, "codevector_dim": 16, "proj_codevector_dim": 16, "num_negatives": 20,
    "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True,
}  # fmt: skip
"""An architecture for `--smoke` and tests."""


@dataclass
class EncoderConfig:
    """The encoder that is pretrained."""

    donor_dir: str = ""
    """Local transformers folder, or the bundle of an earlier run: config.json and model.safetensors."""
    architecture: dict[str, Any] = field(default_factory=dict)
    """Without a donor: content of a transformers config.json. With one: values that differ, such as dropouts."""
    layerdrop: float = 0.0
    feature_gradient: float = 1.0
    """Factor on the gradient of the convolutions; 0.1 for wav2vec 2.0 Base, 1 for Large and XLS-R, 0 freezes them."""
    frozen_feature_steps: int = 0
    """Steps in which the convolutions don't learn; 1000 to 5000 where the sound is new to the donor (telephones)."""
    gradient_checkpointing: bool = False
    """Compute each layer twice and hold less."""

    def __post_init__(self) -> None:
        if not 0 <= self.layerdrop < 1 or not 0 <= self.feature_gradient <= 1 or self.frozen_feature_steps < 0:
            raise ConfigError(
                "encoder: layerdrop must be in [0, 1), feature_gradient in [0, 1], frozen_feature_steps at least 0"
            )

    def values(self) -> dict[str, Any]:
        """Content of config.json of the encoder that is built."""
        donor = read_donor_config(self.donor_dir) if self.donor_dir else {}
        values = {**donor, **self.architecture}
        if "model_type" not in values:
            raise ConfigError(
                "encoder: neither donor_dir nor architecture.model_type is given; name a local transformers folder, "
                "such as `save_pretrained` writes of XLS-R"
            )
        return values

    def features(self) -> FeatureSettings:
        """Features that the encoder takes."""
        values = self.values()
        num_mel_bins = int(values.get("num_mel_bins", 80))
        return FeatureSettings.of_donor(self.donor_dir, model_type=str(values["model_type"]), num_mel_bins=num_mel_bins)

    def build(self) -> MaskedEncoder:
        """The encoder, with the donor's weights where there is one."""
        encoder = build_masked_encoder(
            self.values(), layerdrop=self.layerdrop, feature_gradient=self.feature_gradient,
            gradient_checkpointing=self.gradient_checkpointing,
        )  # fmt: skip
        if self.donor_dir:
            load_encoder(encoder.model, self.donor_dir)
        return encoder


@dataclass
class ObjectiveConfig:
    """What is learnt on masked frames."""

    kind: Literal["wav2vec2", "best_rq"] = "wav2vec2"
    """wav2vec2: tell the true quantised frame from others. best_rq: predict random-projection codes, can't collapse."""
    mask_probability: float = 0.65
    mask_length: int = 10
    """Steps of 20 ms."""
    min_masks: int = 2
    diversity_weight: float = 0.1
    penalty_weight: float = 0.0
    """Of the features' mean square; 10 for wav2vec 2.0 Base, 0 for Large and XLS-R."""
    temperature_start: float | None = None
    """Of the Gumbel soft-max. None goes on where the donor stopped; 2 without a donor."""
    temperature_floor: float | None = None
    """None: 0.1 for architectures with layer norm before attention (Large, XLS-R), 0.5 for others (Base)."""
    temperature_decay: float = 0.999995
    """Factor of each step."""
    new_quantiser: bool = False
    """Start the quantiser anew where the donor has none."""
    num_codebooks: int = 1
    """Of best_rq."""
    num_codes: int = 8192
    """Of each codebook of best_rq."""
    code_seed: int = 0
    """Of best_rq's frozen projections; the same in runs that continue each other."""

    def __post_init__(self) -> None:
        if min(self.temperature_start or 1, self.temperature_floor or 1) <= 0 or not 0 < self.temperature_decay <= 1:
            raise ConfigError("objective: temperatures must be above 0 and temperature_decay in (0, 1]")

    @property
    def spans(self) -> SpanSettings:
        """How much is masked."""
        return SpanSettings(self.mask_probability, self.mask_length, self.min_masks)

    def build(self, encoder: MaskedEncoder, donor_dir: str = "") -> Objective:
        """The objective with the donor's quantiser and projections, or BEST-RQ with an earlier run's classifier.

        Raises:
            ConfigError: the objective doesn't fit the architecture, or the donor lacks its weights.
        """
        if self.kind == "best_rq":
            best_rq = BestRqObjective(
                encoder.width, num_codebooks=self.num_codebooks, num_codes=self.num_codes, seed=self.code_seed
            )
            _load_part(best_rq, donor_dir, prefix="best_rq.")
            return best_rq
        config = encoder.model.config
        if config.model_type != "wav2vec2":
            raise ConfigError(
                f"objective.kind=wav2vec2 needs a wav2vec2 or XLS-R architecture, got '{config.model_type}'; "
                "take objective.kind=best_rq"
            )
        objective = ContrastiveObjective(
            config.conv_dim[-1], config.hidden_size, num_groups=config.num_codevector_groups,
            num_codes=config.num_codevectors_per_group, code_width=config.codevector_dim,
            width=config.proj_codevector_dim, num_negatives=config.num_negatives,
            temperature=config.contrastive_logits_temperature, dropout=config.feat_quantizer_dropout,
            diversity_weight=self.diversity_weight, penalty_weight=self.penalty_weight,
        )  # fmt: skip
        if donor_dir and not _load_part(objective, donor_dir) and not self.new_quantiser:
            raise ConfigError(
                f"{donor_dir}: holds no quantiser and projections, as models fine-tuned for recognition don't; take "
                "the pretrained checkpoint, or set objective.new_quantiser=true or objective.kind=best_rq"
            )
        return objective

    def temperature(self, encoder: MaskedEncoder, donor_dir: str = "") -> "Temperature":
        """The schedule of the Gumbel temperature."""
        floor = self.temperature_floor
        if floor is None:
            floor = 0.1 if getattr(encoder.model.config, "do_stable_layer_norm", False) else 0.5
        start = self.temperature_start
        if start is None:
            start = 2.0 if not donor_dir else float(read_info(donor_dir).get("temperature") or floor)
        return Temperature(start, floor, self.temperature_decay)


@dataclass(frozen=True)
class Temperature:
    """Falls by a factor a step down to a floor.

    >>> Temperature(2.0, 0.5, 0.5).at(1), Temperature(2.0, 0.5, 0.5).at(9)
    (1.0, 0.5)
    """

    start: float
    floor: float
    decay: float

    def at(self, step: int) -> float:
        """The value after so many optimiser steps."""
        return max(self.start * self.decay**step, self.floor)


def read_info(folder: str | Path) -> dict[str, Any]:
    """What an earlier run of ours left beside its encoder; empty for other folders."""
    path = Path(folder) / INFO_FILE
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _load_part(objective: nn.Module, donor_dir: str, *, prefix: str = "") -> bool:
    """Put a donor's weights into an objective; False where it has none of them."""
    path = Path(donor_dir) / "model.safetensors"
    if not donor_dir or not path.is_file():
        return False
    from safetensors import safe_open

    wanted: dict[str, Tensor] = objective.state_dict()
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        found = {name: file.get_tensor(prefix + name) for name in wanted if prefix + name in names}
    if not found:
        return False
    wrong = [name for name, value in wanted.items() if name not in found or found[name].shape != value.shape]
    if wrong:
        raise ArtefactError(
            f"{path}: '{prefix}{wrong[0]}' is missing or of another size than the objective's; give the sizes of the "
            "donor in encoder.architecture or objective"
        )
    objective.load_state_dict(found)
    return True
