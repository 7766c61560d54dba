"""Masks over an encoder's states: how much, for which clip, and that they reach the layers of every family."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining, Wav2Vec2Model

from asr.models.speech_ctc import TINY, SpeechCtc, SpeechCtcConfig
from asr.models.state_masks import StateMaskConfig, StateMasks, draw_masks
from signwave.errors import ConfigError

WAVEFORM: dict[str, Any] = {
    "model_type": "wav2vec2", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 48, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
FAMILIES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "whisper": ({**TINY, "encoder_layers": 1}, (80,)),
    "wav2vec2": (WAVEFORM, ()),
    "xls-r": ({**WAVEFORM, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}, ()),
    "hubert": ({**WAVEFORM, "model_type": "hubert"}, ()),
    "wavlm": ({**WAVEFORM, "model_type": "wavlm"}, ()),
    "w2v-bert": (
        {"model_type": "wav2vec2-bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 48}, (160,)
    ),
}  # fmt: skip


def spans_slowly(size: int, probability: float, length: int, rng: np.random.Generator) -> list[bool]:
    """The rule in words: so many spans, at different starts, each as long as said but never over half of the clip."""
    length = min(length, max(1, size // 2))
    num = int(probability * size / length + rng.random())
    starts = list(rng.choice(size - length + 1, size=min(num, size - length + 1), replace=False))
    return [any(start <= place < start + length for start in starts) for place in range(size)]


@pytest.mark.parametrize("size", [2, 7, 25, 400])
def test_spans_follow_the_rule(size: int) -> None:
    config = StateMaskConfig(time_probability=0.65, channel_probability=0.25, channel_width=8)
    for seed in range(30):
        masks = draw_masks([seed], [size], width=48, config=config)
        rng = np.random.default_rng((seed, 1))
        assert masks.steps[0].tolist() == spans_slowly(size, 0.65, 10, rng)
        assert masks.channels[0].tolist() == spans_slowly(48, 0.25, 8, rng)


def test_about_as_much_is_masked_as_overlapping_spans_leave() -> None:
    config = StateMaskConfig(time_probability=0.65)
    masks = draw_masks(list(range(200)), [500] * 200, width=4, config=config)
    assert float(masks.steps.float().mean()) == pytest.approx(1 - np.exp(-0.65), abs=0.02)
    assert not masks.channels.any()


def test_a_clip_has_its_masks_in_any_batch_and_none_past_its_end() -> None:
    config = StateMaskConfig(time_probability=0.5, channel_probability=0.5, channel_width=4)
    both = draw_masks([5, 9], [60, 30], width=16, config=config)
    alone = draw_masks([9], [30], width=16, config=config)
    assert torch.equal(both.steps[1, :30], alone.steps[0])
    assert torch.equal(both.channels[1], alone.channels[0])
    assert not both.steps[1, 30:].any()
    assert not torch.equal(both.channels[0], both.channels[1])


@pytest.mark.parametrize("changes", [{"time_probability": 1.1}, {"channel_probability": -0.1}, {"time_steps": 0}])
def test_impossible_masks_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"model\.masks"):
        StateMaskConfig(**changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_reach_the_layers(family: str) -> None:
    torch.manual_seed(0)
    architecture, shape = FAMILIES[family]
    model = SpeechCtc(vocab_size=5, encoder_config=architecture, dropout=0.0).eval()
    num_frames = torch.tensor([40 if shape else 8000])
    first, second = torch.randn(2, 1, int(num_frames), *shape)
    size = int(model.num_steps(num_frames))
    none = torch.zeros((1, 32), dtype=torch.bool)

    def outputs(masks: StateMasks | None) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return (model(first, num_frames, masks=masks).log_probs, model(second, num_frames, masks=masks).log_probs)

    plain = outputs(None)
    assert not torch.allclose(*plain, atol=1e-4)
    everything = outputs(StateMasks(torch.ones((1, size), dtype=torch.bool), none))
    torch.testing.assert_close(*everything)  # nothing of the sound is left
    model.encoder.mask_vector.copy_(torch.randn(32))
    other = outputs(StateMasks(torch.ones((1, size), dtype=torch.bool), none))
    assert not torch.allclose(everything[0], other[0], atol=1e-4)
    silent = StateMasks(torch.zeros((1, size), dtype=torch.bool), torch.ones((1, 32), dtype=torch.bool))
    torch.testing.assert_close(*outputs(silent))
    nothing = StateMasks(torch.zeros((1, size), dtype=torch.bool), none)
    torch.testing.assert_close(outputs(nothing)[0], plain[0])


def test_masking_leaves_states_and_bundles_alone() -> None:
    hidden = torch.randn(2, 5, 4, requires_grad=True)
    steps = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)
    channels = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    masked = StateMasks(steps, channels).apply(hidden, torch.full((4,), 9.0))
    assert masked[0, 0].tolist() == [9, 9, 9, 0]
    assert masked[1, 4].tolist() == [9, 9, 9, 9]
    assert torch.equal(masked[1, :4], hidden[1, :4])
    masked.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad[0, 0].tolist() == [0, 0, 0, 0]
    assert not any("mask_vector" in name for name in SpeechCtc(vocab_size=3, encoder_config=TINY).state_dict())


@pytest.mark.parametrize("kind", [Wav2Vec2Model, Wav2Vec2ForPreTraining])
def test_a_donors_mask_vector_is_taken_over_and_its_convolutions_stay(kind: Any, tmp_path: Path) -> None:
    values = {key: value for key, value in WAVEFORM.items() if key != "model_type"}
    donor = kind(Wav2Vec2Config(**values, mask_time_prob=0.5, num_codevector_groups=2, codevector_dim=8))
    donor.save_pretrained(tmp_path)
    vector = getattr(donor, "wav2vec2", donor).masked_spec_embed
    model = SpeechCtcConfig(donor_dir=str(tmp_path)).build(vocab_size=4)
    assert torch.equal(model.encoder.mask_vector, vector)
    convolutions = list(model.encoder.encoder.feature_extractor.parameters())
    assert not any(parameter.requires_grad for parameter in convolutions)
    assert model.encoder.encoder.feature_projection.projection.weight.requires_grad
    trained = SpeechCtcConfig(donor_dir=str(tmp_path), train_feature_encoder=True).build(vocab_size=4)
    assert all(parameter.requires_grad for parameter in trained.encoder.encoder.feature_extractor.parameters())
    scratch = SpeechCtcConfig(architecture=WAVEFORM).build(vocab_size=4)
    assert all(parameter.requires_grad for parameter in scratch.parameters())
    assert not scratch.encoder.mask_vector.any()
