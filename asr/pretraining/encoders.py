"""Encoders of transformers with some of their steps masked: wav2vec2, XLS-R, HuBERT, WavLM, w2v-BERT and Whisper.

Each takes features as asr.features makes them and gives the states over masked input. Where the architecture has a
learnt vector for masked steps it is used; Whisper has none, so its masked mel frames become noise, as BEST-RQ does it.
A clip gives the same states alone and padded in a batch.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from asr.models.speech_encoders import (
    MaskedGroupNorm,
    SpeechStates,
    Wav2Vec2BertStates,
    Wav2Vec2States,
    WhisperStates,
    step_mask,
)
from signwave.errors import ConfigError

_NOISE_STD = 0.1  # BEST-RQ's


class Context(NamedTuple):
    """What a masked encoder gives.

    states: (B, T, H), anything past num_steps.
    features: (B, T, C), normalised features before masking, of waveform encoders; else None.
    penalty: () float32, mean square of the raw features of valid steps; else None.
    """

    states: Tensor
    features: Tensor | None = None
    penalty: Tensor | None = None


class MaskedEncoder(nn.Module):
    """A transformers encoder that sees masked steps.

    Args:
        states: the encoder behind the call that CTC training uses, which knows lengths and strides.
        feature_gradient: of the convolutions of waveform encoders, their gradient is multiplied by this; 0 freezes.
    """

    def __init__(self, states: SpeechStates, *, feature_gradient: float = 1.0) -> None:
        super().__init__()
        self.states = states
        self.feature_gradient = feature_gradient
        self.width = states.width
        self._norms = [module for module in states.modules() if isinstance(module, MaskedGroupNorm)]

    @property
    def model(self) -> Any:
        """The transformers model, whose names its checkpoints have."""
        return self.states.encoder

    @property
    def feature_width(self) -> int | None:
        """C, None where the encoder starts from features and not from a waveform."""
        return int(self.model.config.conv_dim[-1]) if isinstance(self.states, Wav2Vec2States) else None

    def num_steps(self, num_frames: Tensor) -> Tensor:
        """(B,) int64 steps for (B,) samples or frames."""
        return self.states.num_steps(num_frames)

    def forward(
        self, inputs: Tensor, num_frames: Tensor, mask: Tensor, *, generator: torch.Generator | None = None
    ) -> Context:
        """Encode with masked steps.

        Args:
            inputs: (B, S) float32 waveform or (B, T, D) float32 features, zero past num_frames.
            num_frames: (B,) int64.
            mask: (B, T) bool, masked steps; T is the steps of the longest clip.
            generator: of Whisper's noise.
        """
        if isinstance(self.states, WhisperStates):
            return self._whisper(self.states, inputs, num_frames, mask, generator)
        if isinstance(self.states, Wav2Vec2BertStates):
            return self._bert(inputs, num_frames, mask)
        return self._waveform(self.states, inputs, num_frames, mask)

    def _waveform(self, states: Wav2Vec2States, audio: Tensor, num_samples: Tensor, mask: Tensor) -> Context:
        model, num_steps = states.encoder, states.num_steps(num_samples)
        padded = bool((num_samples < audio.shape[1]).any())
        for norm in self._norms:  # without padding the library's own is faster
            norm.num_valid = states.num_steps(num_samples, num_convolutions=1) if padded else None
        frozen = self.feature_gradient == 0
        with torch.no_grad() if frozen else contextlib.nullcontext():
            raw = model.feature_extractor(audio).transpose(1, 2)
        if not frozen and self.feature_gradient != 1:
            raw = self.feature_gradient * raw + (1 - self.feature_gradient) * raw.detach()
        # HuBERT's projection gives no normalised features, so there is nothing to quantise.
        found = model.feature_projection(raw)
        hidden, features = found if isinstance(found, tuple) else (found, None)
        valid = step_mask(num_steps, raw.shape[1]) if padded else None
        hidden = _embed_mask(hidden, mask, model)
        context = model.encoder(hidden, attention_mask=valid)[0]
        return Context(context, features, _mean_square(raw, valid))

    def _bert(self, inputs: Tensor, num_frames: Tensor, mask: Tensor) -> Context:
        model = self.model
        valid = step_mask(num_frames, inputs.shape[1])
        hidden, _ = model.feature_projection(inputs)
        hidden = _embed_mask(hidden, mask, model)
        attention = None if bool(valid.all()) else valid.long()
        context = model.encoder(hidden, attention_mask=attention)[0]
        if model.intermediate_ffn:
            context = context + 0.5 * model.intermediate_ffn(context)
        return Context(context)

    def _whisper(
        self, states: WhisperStates, mel: Tensor, num_frames: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> Context:
        noise = torch.empty_like(mel).normal_(std=_NOISE_STD, generator=generator)
        frames = mask.repeat_interleave(states.stride, dim=1)[:, : mel.shape[1], None]
        return Context(states(torch.where(frames, noise, mel), num_frames).layers[-1])


def _embed_mask(hidden: Tensor, mask: Tensor, model: Any) -> Tensor:
    """Masked steps become the model's learnt vector."""
    return torch.where(mask[..., None], model.masked_spec_embed.to(hidden.dtype), hidden)


def _mean_square(raw: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return raw.float().square().mean()
    return (raw.float().square() * valid[..., None]).sum() / (valid.sum() * raw.shape[2])


def build_masked_encoder(
    encoder_config: dict[str, Any], *, layerdrop: float = 0.0, feature_gradient: float = 1.0,
    gradient_checkpointing: bool = False,
) -> MaskedEncoder:  # fmt: skip
    """Build an architecture with random weights.

    Args:
        encoder_config: content of a transformers config.json, with its `model_type`.
        layerdrop: chance of leaving a layer out of a training step.
        feature_gradient: see `MaskedEncoder`.
        gradient_checkpointing: compute each layer twice and hold less.

    Raises:
        ConfigError: the architecture can't be pretrained here.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = AutoConfig.for_model(**encoder_config)
    # mask_time_prob makes the model own a vector for masked steps; we draw the masks, so it draws none.
    for name, value in (("mask_time_prob", 0.65), ("layerdrop", layerdrop), ("encoder_layerdrop", layerdrop)):
        if hasattr(config, name):
            setattr(config, name, value)
    if config.model_type == "whisper":
        states: SpeechStates = WhisperStates(WhisperEncoder(config))
    elif config.model_type == "wav2vec2-bert":
        states = Wav2Vec2BertStates(AutoModel.from_config(config))
    elif config.model_type in ("wav2vec2", "hubert", "wavlm"):
        states = Wav2Vec2States(AutoModel.from_config(config))
    else:
        raise ConfigError(
            f"model_type '{config.model_type}' can't be pretrained here; allowed are wav2vec2, hubert, wavlm, "
            "wav2vec2-bert and whisper"
        )
    if gradient_checkpointing:
        states.encoder.gradient_checkpointing_enable()
    return MaskedEncoder(states, feature_gradient=feature_gradient)
