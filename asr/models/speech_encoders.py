"""Speech encoders of transformers behind one call: a clip gives the same states alone and padded in a batch.

Families: Whisper's encoder (any length up to its positions, not padded to 30 s), wav2vec2 / XLS-R / HuBERT / WavLM, and
w2v-BERT. Each class here gives the states of every layer, the valid steps, and its parts from the input upwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.features import SAMPLE_RATE_HZ
from asr.models.state_masks import StateMasks
from signwave.errors import ArtefactError


class States(NamedTuple):
    """What an encoder gives.

    layers: each (B, T, D) float32, the input of the first layer and the output of each; anything past num_steps.
    num_steps: (B,) int64.
    """

    layers: list[Tensor]
    num_steps: Tensor


def step_mask(num_steps: Tensor, size: int) -> Tensor:
    """(B, size) bool, True where a step is valid."""
    return torch.arange(size, device=num_steps.device)[None, :] < num_steps[:, None]


class WhisperStates(nn.Module):
    """Whisper's encoder on as many frames as there are; padding is masked in the convolutions and in attention."""

    mask_vector: Tensor
    """(D,) float32, what a masked step becomes: zeros, or the donor's. It isn't trained, and no bundle holds it."""
    stride = 2
    stride_seconds = 0.02

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = int(encoder.config.d_model)
        self.max_seconds: float | None = encoder.max_source_positions * self.stride_seconds
        self.num_layers = len(encoder.layers)
        self.register_buffer("mask_vector", torch.zeros(self.width), persistent=False)

    def parts(self) -> list[nn.Module]:
        """Input side first, then each layer."""
        return [nn.ModuleList([self.encoder.conv1, self.encoder.conv2]), *self.encoder.layers]

    def num_steps(self, num_frames: Tensor) -> Tensor:
        """Steps for (B,) frames."""
        return (num_frames + 1) // 2

    def freeze_feature_encoder(self) -> None:
        """Nothing: its two convolutions read log-mels and count as a layer."""

    def forward(self, features: Tensor, num_frames: Tensor, masks: StateMasks | None = None) -> States:
        """features: (B, T, M) float32 log-mel, anything past num_frames; num_frames: (B,) int64."""
        encoder, num_steps = self.encoder, self.num_steps(num_frames)
        size = (features.shape[1] + 1) // 2
        if size > encoder.max_source_positions:
            raise ValueError(
                f"{features.shape[1]} frames are longer than the encoder's {self.max_seconds} s; cut the audio"
            )
        # A convolution's bias turns zeros into something: mask before each one, as if the clip ended there.
        valid = step_mask(num_frames, features.shape[1])[:, None]
        hidden = F.gelu(encoder.conv1(features.transpose(1, 2) * valid)) * valid
        hidden = F.gelu(encoder.conv2(hidden)).transpose(1, 2)
        if masks is not None:
            hidden = masks.apply(hidden, self.mask_vector)
        hidden = hidden + encoder.embed_positions.weight[:size]
        hidden = F.dropout(hidden, encoder.dropout, self.training)
        valid = step_mask(num_steps, size)
        bias = torch.zeros(valid.shape, dtype=hidden.dtype, device=hidden.device).masked_fill(
            ~valid, torch.finfo(hidden.dtype).min
        )
        mask = None if bool(valid.all()) else bias[:, None, None, :].expand(-1, 1, size, -1)
        states = [hidden]
        for layer in encoder.layers:
            hidden = layer(hidden, mask)
            states.append(hidden)
        states[-1] = encoder.layer_norm(hidden)
        return States(states, num_steps)


class MaskedGroupNorm(nn.GroupNorm):
    """The normalisation over time of wav2vec2-base and HuBERT-base, with statistics over the valid frames only."""

    num_valid: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (B, D, T) float32; one group per channel."""
        if self.num_valid is None:
            return super().forward(inputs)
        valid = step_mask(self.num_valid, inputs.shape[2])[:, None].to(inputs.dtype)
        count = self.num_valid[:, None, None].clamp(min=1)
        mean = (inputs * valid).sum(2, keepdim=True) / count
        variance = ((inputs - mean).square() * valid).sum(2, keepdim=True) / count
        scaled = (inputs - mean) * torch.rsqrt(variance + self.eps)
        return scaled * self.weight[:, None] + self.bias[:, None]


class Wav2Vec2States(nn.Module):
    """wav2vec2, XLS-R, HuBERT and WavLM on waveforms."""

    mask_vector: Tensor
    """(D,) float32, what a masked step becomes: zeros, or the donor's. It isn't trained, and no bundle holds it."""
    max_seconds: float | None = None

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = int(encoder.config.hidden_size)
        self.num_layers = len(encoder.encoder.layers)
        self.stride = 1
        for step in encoder.config.conv_stride:
            self.stride *= int(step)
        self.stride_seconds = self.stride / SAMPLE_RATE_HZ
        self._masked_norm = _mask_group_norm(encoder.feature_extractor.conv_layers[0])
        self.register_buffer("mask_vector", torch.zeros(self.width), persistent=False)

    def parts(self) -> list[nn.Module]:
        """Input side first, then each layer."""
        front = [self.encoder.feature_extractor, self.encoder.feature_projection, self.encoder.encoder.pos_conv_embed]
        return [nn.ModuleList(front), *self.encoder.encoder.layers]

    def num_steps(self, num_frames: Tensor, *, num_convolutions: int | None = None) -> Tensor:
        """Steps for (B,) samples, after all convolutions or the first few."""
        config = self.encoder.config
        for width, stride in list(zip(config.conv_kernel, config.conv_stride, strict=True))[:num_convolutions]:
            num_frames = torch.div(num_frames - width, stride, rounding_mode="floor") + 1
        return num_frames.clamp(min=0)

    def freeze_feature_encoder(self) -> None:
        """Keep the convolutions that read the waveform as they are."""
        self.encoder.feature_extractor._freeze_parameters()

    def forward(self, features: Tensor, num_frames: Tensor, masks: StateMasks | None = None) -> States:
        """features: (B, S) float32 waveform, zero past num_frames; num_frames: (B,) int64."""
        num_steps = self.num_steps(num_frames)
        if self._masked_norm is not None:
            self._masked_norm.num_valid = self.num_steps(num_frames, num_convolutions=1)
        mask = step_mask(num_frames, features.shape[1])
        # Lengths, not gaps: the mask is what transformers derives the valid steps from.
        with _masking(self.encoder.encoder, masks, self.mask_vector):
            found = self.encoder(features * mask, attention_mask=mask.long(), output_hidden_states=True)
        return States([*found.hidden_states[:-1], found.last_hidden_state], num_steps)


def _mask_group_norm(convolution: Any) -> MaskedGroupNorm | None:
    norm = getattr(convolution, "layer_norm", None)
    if not isinstance(norm, nn.GroupNorm):
        return None
    masked = MaskedGroupNorm(norm.num_groups, norm.num_channels, eps=norm.eps, affine=True)
    masked.load_state_dict(norm.state_dict())
    convolution.layer_norm = masked
    return masked


class Wav2Vec2BertStates(nn.Module):
    """w2v-BERT 2.0 on stacked filter banks; one step per feature frame."""

    mask_vector: Tensor
    """(D,) float32, what a masked step becomes: zeros, or the donor's. It isn't trained, and no bundle holds it."""
    stride = 1
    stride_seconds = 0.02
    max_seconds: float | None = None

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        if encoder.config.add_adapter:
            raise ArtefactError(
                "a w2v-BERT with an adapter on top isn't supported; set add_adapter to false in its config.json"
            )
        self.encoder = encoder
        self.width = int(encoder.config.hidden_size)
        self.num_layers = len(encoder.encoder.layers)
        self.register_buffer("mask_vector", torch.zeros(self.width), persistent=False)

    def parts(self) -> list[nn.Module]:
        """Input side first, then each layer."""
        return [self.encoder.feature_projection, *self.encoder.encoder.layers]

    def num_steps(self, num_frames: Tensor) -> Tensor:
        """Steps for (B,) frames."""
        return num_frames

    def freeze_feature_encoder(self) -> None:
        """Nothing: it has no convolutions in front."""

    def forward(self, features: Tensor, num_frames: Tensor, masks: StateMasks | None = None) -> States:
        """features: (B, T, 2 * M) float32, anything past num_frames; num_frames: (B,) int64."""
        mask = step_mask(num_frames, features.shape[1])
        with _masking(self.encoder.encoder, masks, self.mask_vector):
            found = self.encoder(features * mask[..., None], attention_mask=mask.long(), output_hidden_states=True)
        return States([*found.hidden_states[:-1], found.last_hidden_state], num_frames)


@contextlib.contextmanager
def _masking(layers: nn.Module, masks: StateMasks | None, vector: Tensor) -> Iterator[None]:
    """Mask what goes into the layers; transformers' own masking draws from the global generator."""
    if masks is None:
        yield
        return

    def mask(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (masks.apply(arguments[0], vector), *arguments[1:])

    handle = layers.register_forward_pre_hook(mask)
    try:
        yield
    finally:
        handle.remove()


SpeechStates = WhisperStates | Wav2Vec2States | Wav2Vec2BertStates


def build_encoder(encoder_config: dict[str, Any]) -> SpeechStates:
    """Build the architecture of a transformers configuration, with random weights.

    Args:
        encoder_config: content of the donor's config.json, with its `model_type`.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = AutoConfig.for_model(**encoder_config)
    # The library's masking and layer drop are off: ours are seeded per clip (asr/data.py), theirs aren't.
    for name in ("mask_time_prob", "mask_feature_prob", "layerdrop", "encoder_layerdrop", "apply_spec_augment"):
        if hasattr(config, name):
            setattr(config, name, False if name == "apply_spec_augment" else 0.0)
    if config.model_type == "whisper":
        return WhisperStates(WhisperEncoder(config))
    model: Any = AutoModel.from_config(config)
    return Wav2Vec2BertStates(model) if config.model_type == "wav2vec2-bert" else Wav2Vec2States(model)
