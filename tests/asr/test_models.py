"""SpeechCtc on all encoder families: shapes, padding invariance, gradients, donors."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from asr.features import FeatureSettings, extract
from asr.models.speech_ctc import TINY, SpeechCtc, SpeechCtcConfig
from asr.models.speech_encoders import MaskedGroupNorm, build_encoder
from signwave.errors import ArtefactError, ConfigError
from signwave.layers import BiLstm

_WAVEFORM: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "whisper": {**TINY, "encoder_layers": 2},
    "wav2vec2-base": {"model_type": "wav2vec2", **_WAVEFORM},
    "xls-r": {
        "model_type": "wav2vec2", "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
        **_WAVEFORM,
    },
    "hubert": {"model_type": "hubert", **_WAVEFORM},
    "w2v-bert": {
        "model_type": "wav2vec2-bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48,
    },
}  # fmt: skip
HEADS: dict[str, dict[str, Any]] = {
    "linear": {},
    "all": {"mix_layers": True, "num_upsampled_steps": 2, "num_lstm_layers": 1, "lstm_width": 8},
}


def make(family: str, head: str, **changes: Any) -> SpeechCtc:
    torch.manual_seed(0)
    return SpeechCtc(vocab_size=7, encoder_config=FAMILIES[family], **{**HEADS[head], **changes})


def features_of(family: str, sizes: tuple[int, ...]) -> list[torch.Tensor]:
    settings = FeatureSettings.of_donor("none", model_type=FAMILIES[family]["model_type"])
    rng = np.random.default_rng(0)
    return [extract(rng.normal(scale=0.1, size=size).astype(np.float32), settings) for size in sizes]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_clip_gives_the_same_alone_and_in_a_batch(family: str, head: str) -> None:
    model = make(family, head).eval()
    items = features_of(family, (9000, 4321, 6007))
    lengths = torch.tensor([len(item) for item in items])
    with torch.no_grad():
        # What padding holds mustn't matter, so it isn't zero here.
        together = model(pad_sequence(items, batch_first=True, padding_value=0.7), lengths)
        for index, item in enumerate(items):
            alone = model(item[None], lengths[index : index + 1])
            size = int(alone.num_steps[0])
            assert size == int(together.num_steps[index]) == alone.log_probs.shape[1]
            torch.testing.assert_close(together.log_probs[index, :size], alone.log_probs[0], atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_parameter(family: str, head: str) -> None:
    model = make(family, head).train()
    items = features_of(family, (6000, 5000))
    encoded = model(pad_sequence(items, batch_first=True), torch.tensor([len(item) for item in items]))
    (encoded.log_probs * torch.randn_like(encoded.log_probs)).sum().backward()
    silent = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    # A bias of keys moves all scores of a query alike and softmax undoes it; short clips lack the longest distances.
    exempt = ("k_proj.bias", "linear_k.bias", "distance_embedding.weight")
    assert [name for name in silent if not name.endswith(exempt)] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_output_is_log_probabilities_at_fifty_a_second(family: str) -> None:
    model = make(family, "linear").eval()
    (item,) = features_of(family, (32_000,))
    with torch.no_grad():
        encoded = model(item[None], torch.tensor([len(item)]))
    torch.testing.assert_close(encoded.log_probs.exp().sum(-1), torch.ones(encoded.log_probs.shape[:2]))
    assert encoded.log_probs.dtype == torch.float32
    assert model.stride_seconds == 0.02
    assert 98 <= int(encoded.num_steps[0]) <= 100
    assert int(model.num_steps(torch.tensor([len(item)]))[0]) == int(encoded.num_steps[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_state_dict_round_trip(family: str) -> None:
    first, second = make(family, "all").eval(), make(family, "all").eval()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1)
    second.load_state_dict(first.state_dict())
    (item,) = features_of(family, (4000,))
    lengths = torch.tensor([len(item)])
    assert torch.equal(first(item[None], lengths).log_probs, second(item[None], lengths).log_probs)


def test_whispers_states_are_those_of_transformers_on_a_full_window() -> None:
    """Our masked forward is the library's where it can be compared: 30 s without padding."""
    encoder = build_encoder({**TINY, "max_source_positions": 100}).eval()
    features = torch.randn(2, 200, 80)
    with torch.no_grad():
        theirs = encoder.encoder(features.transpose(1, 2)).last_hidden_state
        ours = encoder(features, torch.tensor([200, 200])).layers[-1]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_audio_longer_than_the_positions_is_refused() -> None:
    encoder = build_encoder({**TINY, "max_source_positions": 50})
    with pytest.raises(ValueError, match=r"102 frames are longer than the encoder's 1\.0 s"):
        encoder(torch.zeros(1, 102, 80), torch.tensor([102]))


def test_masked_group_norm_is_torchs_without_padding() -> None:
    norm = MaskedGroupNorm(4, 4)
    plain = torch.nn.GroupNorm(4, 4)
    inputs = torch.randn(2, 4, 9)
    norm.num_valid = torch.tensor([9, 9])
    torch.testing.assert_close(norm(inputs), plain(inputs), atol=1e-5, rtol=1e-4)
    norm.num_valid = None
    assert torch.equal(norm(inputs), plain(inputs))


def test_the_librarys_own_augmentation_is_off() -> None:
    no_dropout = {f"{part}_dropout": 0.0 for part in ("hidden", "attention", "activation", "feat_proj", "final")}
    config = {**FAMILIES["wav2vec2-base"], **no_dropout, "mask_time_prob": 0.5, "layerdrop": 0.5}
    model = SpeechCtc(vocab_size=7, encoder_config=config, dropout=0.0).train()
    (item,) = features_of("wav2vec2-base", (9000,))
    lengths = torch.tensor([len(item)])
    first, second = (model(item[None], lengths).log_probs for _ in range(2))
    torch.testing.assert_close(first, second)


def test_freezing_and_layer_wise_rates() -> None:
    model = make("whisper", "linear")
    groups = model.parameter_groups(1.0, encoder_factor=0.5, layer_decay=0.5)
    rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
    layers = model.encoder.encoder.layers
    assert rate_of[id(model.output.weight)] == 1.0
    assert rate_of[id(layers[1].fc1.weight)] == rate_of[id(model.encoder.encoder.layer_norm.weight)] == 0.5
    assert rate_of[id(layers[0].fc1.weight)] == 0.25
    assert rate_of[id(model.encoder.encoder.conv1.weight)] == 0.125
    model.freeze(2)
    kept = {id(p) for group in model.parameter_groups(1.0) for p in group["params"]}
    assert id(layers[1].fc1.weight) in kept
    assert id(layers[0].fc1.weight) not in kept


@pytest.mark.parametrize("family", FAMILIES)
def test_a_donor_folder_gives_its_encoder(family: str, tmp_path) -> None:
    from transformers import AutoConfig, AutoModel, AutoModelForCTC

    size = {} if family == "whisper" else {"vocab_size": 9}
    config = AutoConfig.for_model(**FAMILIES[family], **size)
    donor = AutoModel.from_config(config) if family == "whisper" else AutoModelForCTC.from_config(config)
    donor.save_pretrained(tmp_path)
    config = SpeechCtcConfig(donor_dir=str(tmp_path))
    model = config.build(vocab_size=7).eval()
    (item,) = features_of(family, (4000,))
    with torch.no_grad():
        states = model.encoder(item[None], torch.tensor([len(item)])).layers
    base = donor.encoder if family == "whisper" else getattr(donor, donor.base_model_prefix)
    wanted, found = base.state_dict(), model.encoder.encoder.state_dict()
    assert wanted.keys() - found.keys() <= {"masked_spec_embed"}
    assert all(torch.equal(wanted[name], value) for name, value in found.items())
    assert bool(states[-1].isfinite().all())
    json.dumps(config.arguments(vocab_size=7))


def test_a_missing_donor_says_what_to_do(tmp_path) -> None:
    with pytest.raises(ArtefactError, match=r"config\.json: no such file; .*convert_ct2_whisper\.py"):
        SpeechCtcConfig(donor_dir=str(tmp_path / "donor")).features()
    with pytest.raises(ConfigError, match="neither donor_dir nor architecture"):
        SpeechCtcConfig().build(vocab_size=3)
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    with pytest.raises(ArtefactError, match=r"model\.safetensors: no such file"):
        SpeechCtcConfig(donor_dir=str(tmp_path)).build(vocab_size=3)


def test_a_donor_of_other_sizes_is_refused(tmp_path) -> None:
    from transformers import AutoConfig, AutoModel

    AutoModel.from_config(AutoConfig.for_model(**TINY)).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**TINY, "encoder_layers": 3}))
    with pytest.raises(ArtefactError, match=r"lacks \d+ of \d+ weights of the encoder"):
        SpeechCtcConfig(donor_dir=str(tmp_path)).build(vocab_size=3)


@pytest.mark.parametrize("changes", [{"dropout": 1.0}, {"num_upsampled_steps": 0}, {"num_lstm_layers": -1}])
def test_impossible_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="model"):
        SpeechCtcConfig(**changes)


def test_bilstm_is_torchs_with_packed_sequences() -> None:
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    ours = BiLstm(6, 5, 2)
    theirs = torch.nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
    state = {}
    for layer in range(2):
        for part, suffix in ((ours.onward[layer], ""), (ours.reverse[layer], "_reverse")):
            state |= {f"{name[:-1]}{layer}{suffix}": value for name, value in part.state_dict().items()}
    theirs.load_state_dict(state)
    hidden, num_steps = torch.randn(3, 9, 6), torch.tensor([9, 4, 1])
    packed = pack_padded_sequence(hidden, num_steps, batch_first=True)
    wanted = pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]
    found = ours(hidden, num_steps)
    for row, size in enumerate(num_steps.tolist()):
        torch.testing.assert_close(found[row, :size], wanted[row, :size], atol=1e-6, rtol=1e-5)


def test_a_step_is_a_whole_number_of_samples() -> None:
    with pytest.raises(ConfigError, match="num_upsampled_steps=3: a step of this encoder is 320 samples; take a"):
        SpeechCtc(vocab_size=4, encoder_config=FAMILIES["whisper"], num_upsampled_steps=3)


def test_padding_is_masked_in_half_precision_too() -> None:
    model = SpeechCtc(vocab_size=4, encoder_config=FAMILIES["whisper"]).eval().to(torch.bfloat16)
    with torch.no_grad():
        encoded = model(torch.zeros(2, 40, 80, dtype=torch.bfloat16), torch.tensor([40, 20]))
    assert encoded.log_probs.isfinite().all()
