"""Masked encoders of every architecture: padding doesn't matter, masks hide, BEST-RQ trains on all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asr.features import FeatureSettings, extract
from asr.models.speech_ctc import SpeechCtcConfig
from asr.pretraining.best_rq import TARGET_WIDTH, BestRqObjective, target_features
from asr.pretraining.config import TINY, EncoderConfig, ObjectiveConfig
from asr.pretraining.encoders import build_masked_encoder
from asr.pretraining.export import export_encoder
from asr.pretraining.masking import SpanSettings, masked_positions, sample_spans
from signwave.errors import ConfigError

STILL = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, **STILL}
WAVEFORM = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
ARCHITECTURES = {
    "wav2vec2": {**TINY, **STILL},
    "wav2vec2-base": {"model_type": "wav2vec2", **SMALL, **WAVEFORM, "codevector_dim": 16, "proj_codevector_dim": 16},
    "hubert": {"model_type": "hubert", **SMALL, **WAVEFORM},
    "wavlm": {"model_type": "wavlm", **SMALL, **WAVEFORM},
    "w2v-bert": {
        "model_type": "wav2vec2-bert", **SMALL, "feature_projection_input_dim": 160, "conformer_conv_dropout": 0.0,
        "layerdrop": 0.0, "left_max_position_embeddings": 8, "right_max_position_embeddings": 4,
        "conv_depthwise_kernel_size": 5, "num_mel_bins": 80,
    },
    "whisper": {
        "model_type": "whisper", "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "dropout": 0.0,
        "encoder_ffn_dim": 64, "num_mel_bins": 80, "max_source_positions": 1500, "decoder_layers": 1,
        "decoder_attention_heads": 2, "decoder_ffn_dim": 32,
    },
}  # fmt: skip
each_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def inputs_of(name, lengths, seed=0):
    """Features of noise clips, padded, their lengths, the settings and the audio."""
    rng = np.random.default_rng(seed)
    audio = [rng.standard_normal(length).astype(np.float32) * 0.1 for length in lengths]
    values = ARCHITECTURES[name]
    settings = FeatureSettings.of_donor("", model_type=values["model_type"])
    features = [extract(one, settings) for one in audio]
    sizes = torch.tensor([len(one) for one in features])
    return torch.nn.utils.rnn.pad_sequence(features, batch_first=True), sizes, settings, audio


@each_architecture
def test_a_padded_clip_gives_the_states_it_gives_alone(name):
    torch.manual_seed(0)
    encoder = build_masked_encoder(ARCHITECTURES[name]).train()
    inputs, sizes, _, _ = inputs_of(name, [16000, 9600])
    steps = encoder.num_steps(sizes)
    mask = torch.zeros(2, int(steps.max()), dtype=torch.bool)
    mask[:, 4:14] = True
    if name == "whisper":  # its mask is noise, drawn for the whole batch
        mask[1] = False
    together = encoder(inputs, sizes, mask, generator=torch.Generator().manual_seed(0))
    alone = encoder(inputs[1:, : sizes[1]], sizes[1:], mask[1:, : steps[1]],
                    generator=torch.Generator().manual_seed(0))  # fmt: skip
    valid = int(steps[1])
    torch.testing.assert_close(together.states[1, :valid], alone.states[0, :valid], atol=2e-5, rtol=1e-3)
    if together.features is not None:
        torch.testing.assert_close(together.features[1, :valid], alone.features[0, :valid], atol=2e-5, rtol=1e-3)


@each_architecture
def test_what_is_masked_cant_be_heard(name):
    """The middle of a long masked span, away from what the convolutions of its neighbours hear, has no say."""
    torch.manual_seed(0)
    encoder = build_masked_encoder(ARCHITECTURES[name]).eval()
    inputs, sizes, settings, audio = inputs_of(name, [16000])
    steps = int(encoder.num_steps(sizes)[0])
    mask = torch.zeros(1, steps, dtype=torch.bool)
    mask[:, 10:30] = True
    changed = audio[0].copy()
    changed[320 * 15 : 320 * 25] = 0.1 * np.random.default_rng(9).standard_normal(3200)
    other = inputs.clone()
    start, end = 320 * 14 // settings.samples_per_frame, 320 * 26 // settings.samples_per_frame
    new = changed if settings.kind == "waveform" else changed[::1]
    other[0, start:end] = (
        torch.from_numpy(new)[start:end] if settings.kind == "waveform" else torch.randn_like(other[0, start:end])
    )
    found = [encoder(one, sizes, mask, generator=torch.Generator().manual_seed(1)).states[0] for one in (inputs, other)]
    unmasked = [
        encoder(one, sizes, torch.zeros_like(mask), generator=torch.Generator().manual_seed(1)).states[0]
        for one in (inputs, other)
    ]
    norm_over_time = name in ("wav2vec2-base", "hubert", "wavlm")  # its statistics hear everything, a little
    heard, hidden = (float((pair[0] - pair[1]).detach().abs().max()) for pair in (unmasked, found))
    assert hidden < (0.3 * heard if norm_over_time else 1e-5)
    assert heard > 1e-2


@each_architecture
def test_best_rq_trains_on_every_architecture(name):
    torch.manual_seed(0)
    encoder = build_masked_encoder(ARCHITECTURES[name]).train()
    objective = BestRqObjective(encoder.width, num_codes=32)
    inputs, sizes, _, audio = inputs_of(name, [16000, 12000])
    targets = [target_features(one) for one in audio]
    padded = torch.stack([one[torch.arange(len(targets[0])).clamp(max=len(one) - 1)] for one in targets])
    steps = encoder.num_steps(sizes)
    mask = sample_spans(steps, int(steps.max()), SpanSettings(), generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam([*encoder.parameters(), *objective.head.parameters()], lr=3e-3)
    losses = []
    for _ in range(12):
        context = encoder(inputs, sizes, mask, generator=torch.Generator().manual_seed(0))
        loss = objective(context.states, padded, masked_positions(mask))
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(float(loss.total.detach() / loss.num_masked.sum()))
    assert losses[0] == pytest.approx(np.log(32), abs=0.8)
    assert losses[-1] < 0.8 * losses[0]
    if hasattr(encoder.model, "masked_spec_embed"):
        assert float(encoder.model.masked_spec_embed.grad.abs().max()) > 0


@each_architecture
def test_every_export_starts_a_recogniser_and_a_further_run(name, tmp_path):
    config = EncoderConfig(architecture=ARCHITECTURES[name])
    encoder, kind = config.build(), ObjectiveConfig(kind="best_rq", num_codes=32)
    objective = kind.build(encoder)
    export_encoder(tmp_path / "bundle", encoder, objective, encoder_config=config.values(),
                   settings=config.features(), info={"name": name})  # fmt: skip
    ctc = SpeechCtcConfig(donor_dir=str(tmp_path / "bundle"))
    assert ctc.features() == config.features()
    recogniser = ctc.build(vocab_size=5)
    ours = encoder.model.state_dict()
    for key, value in recogniser.encoder.encoder.state_dict().items():
        assert torch.equal(value, ours[key]), key
    further = EncoderConfig(donor_dir=str(tmp_path / "bundle"))
    again = further.build()
    assert all(torch.equal(value, ours[key]) for key, value in again.model.state_dict().items())
    head = kind.build(again, further.donor_dir).head.weight
    assert torch.equal(head, objective.head.weight)


@pytest.mark.parametrize("name", ["hubert", "w2v-bert", "whisper"])
def test_the_contrastive_objective_is_refused_where_there_is_no_quantiser(name):
    encoder = EncoderConfig(architecture=ARCHITECTURES[name]).build()
    with pytest.raises(ConfigError, match=r"objective.kind=wav2vec2 needs .* take objective.kind=best_rq"):
        ObjectiveConfig().build(encoder)


def test_other_architectures_are_refused():
    with pytest.raises(ConfigError, match=r"model_type 'bert' can't be pretrained here; allowed are wav2vec2"):
        build_masked_encoder({"model_type": "bert"})


@pytest.mark.parametrize("gradient", [1.0, 0.25, 0.0])
def test_the_gradient_of_the_convolutions_is_scaled(gradient):
    torch.manual_seed(0)
    encoder = build_masked_encoder(ARCHITECTURES["wav2vec2"])
    inputs, sizes, _, _ = inputs_of("wav2vec2", [8000])
    mask = torch.zeros(1, int(encoder.num_steps(sizes)), dtype=torch.bool)
    weight = encoder.model.feature_extractor.conv_layers[0].conv.weight
    found = {}
    for factor in (1.0, gradient):
        encoder.zero_grad()
        encoder.feature_gradient = factor
        encoder(inputs, sizes, mask).states.square().sum().backward()
        found[factor] = torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
    torch.testing.assert_close(found[gradient], gradient * found[1.0], rtol=1e-4, atol=1e-5)


def test_codes_are_the_nearest_by_a_plain_search():
    objective = BestRqObjective(8, num_codebooks=3, num_codes=20, seed=4)
    frames = torch.randn(50, TARGET_WIDTH, generator=torch.Generator().manual_seed(0))
    found = objective.targets(frames)
    for row in range(50):
        for book in range(3):
            projected = frames[row] @ objective.projections[book]
            projected = projected / projected.norm()
            distances = [float((projected - code).norm()) for code in objective.codes[book]]
            assert int(found[row, book]) == int(np.argmin(distances))
    same = BestRqObjective(8, num_codebooks=3, num_codes=20, seed=4)
    assert torch.equal(same.targets(frames), found)
    assert not torch.equal(BestRqObjective(8, num_codebooks=3, num_codes=20, seed=5).targets(frames), found)


def test_the_loss_is_the_cross_entropy_at_masked_frames():
    torch.manual_seed(0)
    objective = BestRqObjective(8, num_codebooks=2, num_codes=20)
    context, frames = torch.randn(2, 9, 8), torch.randn(2, 8, TARGET_WIDTH)
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[0, 2:5], mask[1, 7:] = True, True
    loss = objective(context, frames, masked_positions(mask))
    expected, correct = [0.0, 0.0], 0
    for row, step in mask.nonzero().tolist():
        target = objective.targets(frames[row, min(step, 7)][None])[0]
        scores = objective.head(context[row, step]).view(2, 20).log_softmax(-1)
        expected[row] -= sum(float(scores[book, target[book]].detach()) for book in range(2)) / 2
        correct += bool((scores.argmax(-1) == target).all())
    assert loss.by_clip.tolist() == pytest.approx(expected, rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(sum(expected), rel=1e-5)
    assert loss.num_masked.tolist() == [3, 2]
    assert int(loss.num_correct) == correct
    assert loss.soft_counts.sum(1).tolist() == [5, 5]


def test_target_frames_lie_in_the_middle_of_a_wav2vec2_step():
    """A click in the middle of step 20 is loudest in target frame 20."""
    audio = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 1e-3
    audio[320 * 20 + 190 : 320 * 20 + 210] = 0.9
    frames = target_features(audio)
    assert frames.shape == (49, TARGET_WIDTH)
    assert int(frames.mean(1).argmax()) == 20
    bins = frames.view(-1, 80)
    assert float(bins.mean(0).abs().max()) < 0.2
    assert float((bins.std(0) - 1).abs().max()) < 0.2
