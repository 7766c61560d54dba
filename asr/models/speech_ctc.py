"""A CTC head on any speech encoder that transformers knows, started from a local folder.

Above the encoder: a learnt mix of its layers (optional), up-sampling of steps for short tokens (optional),
bidirectional LSTM layers (optional), dropout, one linear layer. Augmentation belongs to the data (asr/data.py).
"""

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr.features import SAMPLE_RATE_HZ, FeatureSettings
from asr.models.speech_encoders import build_encoder
from asr.models.state_masks import StateMaskConfig, StateMasks
from signwave.batch import Encoded
from signwave.errors import ArtefactError, ConfigError
from signwave.layers import BiLstm

_INITIAL_BLANK_BIAS = 1.0
"""A start with many blanks is where CTC training gets to by itself in its first steps."""

TINY: dict[str, Any] = {
    "model_type": "whisper", "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
    "num_mel_bins": 80, "max_source_positions": 1500, "decoder_layers": 1, "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
}  # fmt: skip
"""An architecture for `--smoke` and tests."""


class SpeechCtc(nn.Module):
    """Audio features to token probabilities."""

    def __init__(
        self,
        *,
        vocab_size: int,
        encoder_config: dict[str, Any],
        dropout: float = 0.1,
        mix_layers: bool = False,
        num_upsampled_steps: int = 1,
        num_lstm_layers: int = 0,
        lstm_width: int = 256,
    ) -> None:
        """Build the model with random weights.

        Args:
            vocab_size: V, the blank included.
            encoder_config: content of a transformers config.json.
            dropout: before the LSTM and before the output layer.
            mix_layers: learn a weighted sum of all layers instead of taking the last one.
            num_upsampled_steps: output steps for each step of the encoder.
            num_lstm_layers: bidirectional layers between encoder and output.
            lstm_width: of each direction.
        """
        super().__init__()
        self.encoder = build_encoder(encoder_config)
        samples_per_step = round(self.encoder.stride_seconds * SAMPLE_RATE_HZ)
        if samples_per_step % num_upsampled_steps:
            # Windows of long audio start at whole steps: a step that is no whole number of samples shifts the times.
            raise ConfigError(
                f"model.num_upsampled_steps={num_upsampled_steps}: a step of this encoder is {samples_per_step} "
                "samples; take a divisor of that, such as 1, 2 or 4"
            )
        self.stride = max(1, self.encoder.stride // num_upsampled_steps)
        self.stride_seconds = self.encoder.stride_seconds / num_upsampled_steps
        self.num_upsampled_steps = num_upsampled_steps
        width = self.encoder.width
        self.layer_weights = nn.Parameter(torch.zeros(self.encoder.num_layers + 1)) if mix_layers else None
        self.upsample = nn.Linear(width, num_upsampled_steps * width) if num_upsampled_steps > 1 else None
        self.dropout = nn.Dropout(dropout)
        self.lstm = None
        if num_lstm_layers:
            self.lstm = BiLstm(width, lstm_width, num_lstm_layers)
            width = 2 * lstm_width
        self.output = nn.Linear(width, vocab_size)
        with torch.no_grad():
            self.output.bias.zero_()
            self.output.bias[0] = _INITIAL_BLANK_BIAS

    @property
    def max_seconds(self) -> float | None:
        """The longest audio the encoder takes at once, or None."""
        return self.encoder.max_seconds

    def num_steps(self, num_frames: Tensor) -> Tensor:
        """Output steps for (B,) feature frames."""
        return self.encoder.num_steps(num_frames) * self.num_upsampled_steps

    def forward(
        self, inputs: Tensor, lengths: Tensor, *, masks: StateMasks | None = None, frozen: bool = False
    ) -> Encoded:
        """Compute token probabilities.

        Args:
            inputs: (B, S) float32 waveform or (B, T, D) float32 features, anything past lengths.
            lengths: (B,) int64, valid samples or frames.
            masks: of the encoder's states, in training.
            frozen: the encoder gets no gradient.
        """
        with torch.no_grad() if frozen else contextlib.nullcontext():
            states, num_steps = self.encoder(inputs, lengths, masks)
        return self.classify(self._mixed(states), num_steps)

    def encode(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The donor's part: (B, T, D) float32 states, anything past num_steps; and (B,) int64 num_steps."""
        states, num_steps = self.encoder(inputs, lengths)
        return self._mixed(states), num_steps

    def _mixed(self, states: list[Tensor]) -> Tensor:
        if self.layer_weights is None:
            return states[-1]
        weights = self.layer_weights.softmax(0)
        mixed = [weight * state for weight, state in zip(weights, states, strict=True)]
        return torch.stack(mixed).sum(0)

    def classify(self, hidden: Tensor, num_steps: Tensor) -> Encoded:
        """The new part, from what `encode` gives to token probabilities."""
        hidden, num_steps = self.represent(hidden, num_steps)
        return Encoded(self.output(hidden).float().log_softmax(-1), num_steps)

    def represent(self, hidden: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        """From what `encode` gives to what the output layer takes: (B, T, D) float32, and (B,) int64 num_steps."""
        hidden = self.dropout(hidden)
        if self.upsample is not None:
            batch, size, width = hidden.shape
            hidden = self.upsample(hidden).view(batch, size * self.num_upsampled_steps, width)
            num_steps = num_steps * self.num_upsampled_steps
        if self.lstm is not None:
            hidden = self.dropout(self.lstm(hidden, num_steps))
        return hidden, num_steps

    def freeze(self, num_parts: int) -> None:
        """Keep the encoder's lowest parts as they are: 1 = the convolutions, 2 = also the first layer, and so on."""
        if num_parts:
            self.encoder.freeze_feature_encoder()
        for part in self.encoder.parts()[:num_parts]:
            part.requires_grad_(False)

    def parameter_groups(
        self, learning_rate: float, *, encoder_factor: float = 1.0, layer_decay: float = 1.0
    ) -> list[dict[str, Any]]:
        """Groups for an optimiser: the head at `learning_rate`, the encoder at less the deeper a layer lies.

        Args:
            learning_rate: of the head.
            encoder_factor: the top layer of the encoder gets learning_rate * encoder_factor.
            layer_decay: each layer further down gets this times the rate above it.
        """
        parts = self.encoder.parts()
        rate_of = {id(p): encoder_factor for p in self.encoder.parameters()}
        for depth, part in enumerate(reversed(parts)):
            rate_of.update({id(p): encoder_factor * layer_decay**depth for p in part.parameters()})
        groups: dict[float, list[nn.Parameter]] = {}
        for parameter in self.parameters():
            if parameter.requires_grad:
                groups.setdefault(rate_of.get(id(parameter), 1.0), []).append(parameter)
        return [{"params": found, "lr": learning_rate * factor} for factor, found in groups.items()]


@dataclass
class SpeechCtcConfig:
    """A CTC head on a donor encoder."""

    donor_dir: str = ""
    """Local transformers folder: config.json, model.safetensors and, where there is one, preprocessor_config.json."""
    dropout: float = 0.1
    mix_layers: bool = False
    num_upsampled_steps: int = 1
    num_lstm_layers: int = 0
    lstm_width: int = 256
    num_frozen_parts: int = 0
    """Lowest parts of the encoder that aren't trained; 1 = its convolutions and what lies before the first layer."""
    train_feature_encoder: bool = False
    """Train the convolutions with which wav2vec2, HuBERT and WavLM donors read the waveform; without a donor they are
    always trained."""
    masks: StateMaskConfig = field(default_factory=StateMaskConfig)
    """Of the encoder's states in training, beside SpecAugment on the features (data.augment)."""
    architecture: dict[str, Any] = field(default_factory=dict)
    """Without a donor: content of a transformers config.json, for an encoder that starts from random weights."""

    def __post_init__(self) -> None:
        if self.num_upsampled_steps < 1 or self.num_lstm_layers < 0 or self.num_frozen_parts < 0:
            raise ConfigError(
                "model: num_upsampled_steps must be at least 1, num_lstm_layers and num_frozen_parts at least 0"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must be in [0, 1), got {self.dropout}")

    def features(self) -> FeatureSettings:
        """Features that the encoder takes."""
        values = self.encoder_config()
        num_mel_bins = int(values.get("num_mel_bins", 80))
        return FeatureSettings.of_donor(self.donor_dir, model_type=str(values["model_type"]), num_mel_bins=num_mel_bins)

    def encoder_config(self) -> dict[str, Any]:
        """The donor's architecture, or the given one."""
        values = read_donor_config(self.donor_dir) if self.donor_dir else dict(self.architecture)
        if "model_type" not in values:
            raise ConfigError(
                "model: neither donor_dir nor architecture.model_type is given; name a local transformers folder, "
                "such as `python tools/convert_ct2_whisper.py FOLDER` makes"
            )
        return values

    def arguments(self, *, vocab_size: int) -> dict[str, Any]:
        """Arguments of SpeechCtc as plain values, which a bundle keeps."""
        return {
            "vocab_size": vocab_size, "encoder_config": self.encoder_config(), "dropout": self.dropout,
            "mix_layers": self.mix_layers, "num_upsampled_steps": self.num_upsampled_steps,
            "num_lstm_layers": self.num_lstm_layers, "lstm_width": self.lstm_width,
        }  # fmt: skip

    def build(self, *, vocab_size: int) -> SpeechCtc:
        """The model with the donor's weights in its encoder."""
        model = SpeechCtc(**self.arguments(vocab_size=vocab_size))
        if self.donor_dir:
            load_donor(model, self.donor_dir)
            load_mask_vector(model, self.donor_dir)
            if not self.train_feature_encoder:
                model.encoder.freeze_feature_encoder()
        if self.num_frozen_parts:
            model.freeze(self.num_frozen_parts)
        return model


def read_donor_config(folder: str | Path) -> dict[str, Any]:
    """config.json of a transformers folder.

    Raises:
        ArtefactError: there is none.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; model.donor_dir takes a local transformers folder, and "
                            f"`python tools/convert_ct2_whisper.py {folder}` makes the demo's")  # fmt: skip
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {
        key: value
        for key, value in values.items()
        if key not in ("architectures", "transformers_version", "_name_or_path")
    }


def load_donor(model: SpeechCtc, folder: str | Path) -> None:
    """Put a donor's weights into the encoder of a recogniser; see `load_encoder`."""
    load_encoder(model.encoder.encoder, folder)


def load_encoder(encoder: nn.Module, folder: str | Path) -> None:
    """Put a donor's weights into a transformers encoder: whatever stands before their names, without their own heads.

    Raises:
        ArtefactError: no safetensors file, or weights of the encoder are missing or of other shapes.
    """
    from safetensors.torch import load_file

    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; save the donor with safetensors (`save_pretrained` does)")
    wanted = encoder.state_dict()
    stored = {_plain_name(name): value for name, value in load_file(path).items()}
    found = {name: stored[match] for name in wanted if (match := _match(name, stored)) is not None}
    missing = sorted(name for name, value in wanted.items() if name not in found or found[name].shape != value.shape)
    if missing:
        raise ArtefactError(
            f"{path}: lacks {len(missing)} of {len(wanted)} weights of the encoder that config.json describes, "
            f"e.g. '{missing[0]}'; take config.json and weights from one model"
        )
    encoder.load_state_dict(found)


def load_mask_vector(model: SpeechCtc, folder: str | Path) -> None:
    """Take over the vector with which a donor was pretrained to mask steps, where it has one."""
    from safetensors import safe_open

    with safe_open(Path(folder) / "model.safetensors", framework="pt") as stored:
        found = [name for name in stored.keys() if name.rpartition(".")[2] == "masked_spec_embed"]  # noqa: SIM118
        if found:
            model.encoder.mask_vector.copy_(stored.get_tensor(found[0]))


def _plain_name(name: str) -> str:
    # Older checkpoints name the two halves of a weight norm weight_g and weight_v.
    return name.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"
    )


def _match(name: str, stored: dict[str, Tensor]) -> str | None:
    prefixes = ("model.encoder.", "encoder.", "wav2vec2.", "hubert.", "wavlm.", "wav2vec2_bert.", "")
    return next((prefix + name for prefix in prefixes if prefix + name in stored), None)
