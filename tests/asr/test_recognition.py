"""From a recipe's parts to a bundle and back to a recogniser; augmentation, data, language model and head start."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr.acoustic_model import AcousticModel
from asr.augment import AugmentConfig, mask_features, vary_audio
from asr.data import SpeechDataConfig, SpeechDataset, ToneDataConfig, tone_audio
from asr.features import FeatureSettings
from asr.head_start import train_head
from asr.language_model import Decoder, LanguageModelConfig, Scored, choose_decoder, train_lm
from asr.models.speech_ctc import TINY, SpeechCtc, SpeechCtcConfig
from asr.optimiser import OptimiserConfig
from asr.recognition import SpeechRecognition
from signwave import bundle, manifest
from signwave.errors import ArtefactError, ConfigError, LabelError, MediaError, UserError
from signwave.manifest import Clip
from signwave.recipe import Recipe, TrainConfig, run
from signwave.sampling import Draw
from signwave.text import Vocabulary

MEL = FeatureSettings("log_mel")
OFF = AugmentConfig(
    speed_range=0, gain_range_db=0, noise_probability=0, num_time_masks_per_second=0, frequency_mask_share=0
)
VOCABULARY = Vocabulary.build(["abcd abcd"], unit="char")


def tones(split: str = "train", **changes: Any) -> SpeechDataset:
    settings = {"vocabulary": VOCABULARY, "settings": MEL, "read": tone_audio, **changes}
    return SpeechDataset(ToneDataConfig().clips(split), **settings)


# ---- data ----


def test_items_are_the_same_for_the_same_draw_and_differ_otherwise() -> None:
    data = tones(augment=AugmentConfig(join_probability=0.5))
    first, again, other = data[Draw(3, 7)], data[Draw(3, 7)], data[Draw(3, 8)]
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.labels, again.labels)
    assert first.features.shape != other.features.shape or not torch.equal(first.features, other.features)


def test_without_augmentation_a_draw_is_the_clip() -> None:
    plain, off = tones(), tones(augment=OFF)
    assert torch.equal(plain[Draw(0, 1)].features, plain.plain_item(0).features)
    assert torch.equal(off[Draw(0, 1)].features, plain[Draw(0, 2)].features)


def test_cached_audio_is_read_once_and_within_the_limit() -> None:
    reads: list[str] = []

    def read(clip: Clip) -> np.ndarray:
        reads.append(clip.id)
        return tone_audio(clip)

    data = tones(read=read, cache_hours=3.0 / 3600)  # two clips of 1.4 s
    for index in (0, 1, 2, 0, 1, 2):
        data.plain_item(index)
    assert reads == ["train-0", "train-1", "train-2", "train-2"]


def test_joined_clips_have_both_texts() -> None:
    data = tones(augment=AugmentConfig(**{**vars(OFF), "join_probability": 1.0}))
    item = data[Draw(0, 5)]
    text = VOCABULARY.decode(item.labels.tolist())
    assert text.startswith(data.texts[0] + " ")
    assert text.removeprefix(data.texts[0] + " ") in data.texts
    assert len(item.features) == 2 * len(data.plain_item(0).features)


def test_a_partner_that_cannot_be_read_costs_the_clip_nothing() -> None:
    def read(clip: Clip) -> np.ndarray:
        if clip.id != "train-0":
            raise MediaError(clip.path, "is cut off")
        return tone_audio(clip)

    data = tones(read=read, augment=AugmentConfig(**{**vars(OFF), "join_probability": 1.0}))
    for seed in range(5):
        assert VOCABULARY.decode(data[Draw(0, seed)].labels.tolist()).startswith(data.texts[0])


def test_a_slower_clip_stays_within_the_limit() -> None:
    slow = AugmentConfig(**{**vars(OFF), "speed_range": 0.4})
    audio = np.zeros(1000, dtype=np.float32)
    sizes = [len(vary_audio(audio, slow, np.random.default_rng(seed), max_samples=1100)) for seed in range(40)]
    assert max(sizes) == 1100
    assert min(sizes) < 900
    unlimited = [len(vary_audio(audio, slow, np.random.default_rng(seed))) for seed in range(40)]
    assert [size for size in unlimited if size <= 1100] == [
        size for size, free in zip(sizes, unlimited, strict=True) if free <= 1100
    ]


def test_batches_are_padded_and_checked() -> None:
    data = tones(augment=AugmentConfig())
    batch = data.collate([data[Draw(index, index)] for index in range(4)])
    batch.check()
    assert batch.ids == tuple(f"train-{index}" for index in range(4))
    for row, size in zip(batch.inputs, batch.num_frames.tolist(), strict=True):
        assert not row[size:].any()


def test_a_text_that_cannot_be_spelled_names_the_clip() -> None:
    clip = Clip(id="odd", path="odd.wav", kind="audio", text="xyz", language="en", num_frames=16000, rate_hz=16000.0)
    data = SpeechDataset([clip], vocabulary=VOCABULARY, settings=MEL, read=lambda _: np.zeros(16000, np.float32))
    with pytest.raises(LabelError, match=r"clip 'odd' \(odd\.wav\): 'x', 'y', 'z' not among"):
        data[Draw(0, 0)]


def test_a_clip_without_length_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"clip 'a' has no length; make the manifest with `asr prepare`"):
        SpeechDataset([Clip(id="a", path="a.wav", kind="audio")], vocabulary=VOCABULARY, settings=MEL)


def test_a_missing_manifest_tells_the_command(tmp_path: Path) -> None:
    config = SpeechDataConfig(manifest_dir=str(tmp_path), how_to_prepare="asr prepare asterisk RAW")
    with pytest.raises(ConfigError, match=r"no train\.jsonl\.gz there; make it with: asr prepare asterisk RAW"):
        config.build(MEL, budget=100)
    with pytest.raises(ConfigError, match=r"data\.manifest_dir=: no train\.jsonl\.gz"):
        SpeechDataConfig().build(MEL, budget=100)


def test_languages_lengths_and_spelling_choose_the_clips(tmp_path: Path) -> None:
    def clip(name: str, text: str, language: str, seconds: float) -> Clip:
        return Clip(id=name, path="x.wav", kind="audio", text=text, language=language, num_frames=int(seconds * 16000),
                    rate_hz=16000.0)  # fmt: skip

    train = [clip("a", "كتاب", "fa", 1), clip("b", "كتاب", "ar", 2), clip("c", "باب", "fa", 99)]
    manifest.write(tmp_path / "train.jsonl.gz", train)
    for split in ("dev", "test"):
        manifest.write(
            tmp_path / f"{split}.jsonl.gz", [clip(split, "باب", "fa", 1), clip(f"{split}-odd", "ژ", "fa", 1)]
        )
    both = SpeechDataConfig(manifest_dir=str(tmp_path)).build(MEL, budget=100_000)
    assert both.vocabulary.tokens[1:] == tuple(sorted("کتابك"))
    assert both.normaliser.name == "any-2"
    assert both.groups == {"test": ("fa",)}
    assert both.info["hours_train"] == pytest.approx(3 / 3600, abs=1e-4)
    one = SpeechDataConfig(manifest_dir=str(tmp_path), language="fa").build(MEL, budget=100_000)
    assert one.normaliser.name == "persian-2"
    assert one.lm_texts == ["کتاب"]
    assert one.groups == {}


# ---- augmentation ----


def test_speed_changes_the_length_and_off_changes_nothing() -> None:
    audio = tone_audio(ToneDataConfig().clips("train")[0])
    assert np.array_equal(vary_audio(audio, OFF, np.random.default_rng(0)), audio)
    lengths = {len(vary_audio(audio, AugmentConfig(), np.random.default_rng(seed))) for seed in range(30)}
    assert len(audio) / 1.11 < min(lengths) < 0.95 * len(audio) < 1.05 * len(audio) < max(lengths) < len(audio) / 0.89


def test_noise_has_the_asked_level() -> None:
    config = AugmentConfig(
        **{**vars(OFF), "noise_probability": 1.0, "noise_snr_db_min": 20.0, "noise_snr_db_max": 20.0}
    )
    audio = np.sin(np.arange(16000) / 10).astype(np.float32)
    noise = vary_audio(audio, config, np.random.default_rng(0)) - audio
    assert 10 * np.log10(np.mean(audio**2) / np.mean(noise**2)) == pytest.approx(20.0, abs=0.2)


@pytest.mark.parametrize("shape", [(400, 80), (16000,), (3, 80), (1, 80)])
def test_masks_are_bounded_and_leave_the_input_alone(shape: tuple[int, ...]) -> None:
    settings = MEL if len(shape) == 2 else FeatureSettings("waveform")
    features = torch.randn(shape)
    kept = features.clone()
    config = AugmentConfig(num_time_masks_per_second=1.0)
    for seed in range(20):
        masked = mask_features(features, settings, config, np.random.default_rng(seed))
        rows = (masked != features).reshape(shape[0], -1).all(1).float().mean()
        assert masked.shape == features.shape
        assert float(rows) <= 0.8 + 1e-6
    assert torch.equal(features, kept)


@pytest.mark.parametrize(
    "changes",
    [{"speed_range": 0.5}, {"noise_probability": 1.5}, {"noise_snr_db_min": 40.0}, {"join_probability": -0.1}],
)
def test_impossible_augmentation_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="augment"):
        AugmentConfig(**changes)


# ---- language model ----


def outputs_of(texts: list[str], noise: float) -> list[Scored]:
    generator = torch.Generator().manual_seed(0)
    outputs = []
    for text in texts:
        path = [step for label in VOCABULARY.encode(text) for step in (label, 0)]
        logits = 4.0 * torch.nn.functional.one_hot(torch.tensor(path), VOCABULARY.size).float()
        logits = logits + noise * torch.randn(logits.shape, generator=generator)
        outputs.append(Scored(logits.log_softmax(-1), text))
    return outputs


@pytest.mark.parametrize("unit", ["char", "word"])
def test_the_language_model_mends_noisy_output(unit: Any) -> None:
    texts = ["abc dab cab", "dab dab abc", "cab abc dab", "abc cab cab"] * 3
    settings = LanguageModelConfig(order=4, unit=unit, weights=[0.0, 0.8], token_bonuses=[0.0, 1.0])
    lm = train_lm(texts, VOCABULARY, order=4, unit=unit)
    outputs = outputs_of(texts, noise=2.0)
    chosen = choose_decoder(outputs, lm, VOCABULARY, settings)
    assert chosen.lm_weight == 0.8
    wrong = sum(a != b for a, b in zip(chosen.decode(outputs, lm, VOCABULARY), texts, strict=True))
    without = Decoder(16, 0.0, 0.0, unit).decode(outputs, lm, VOCABULARY)
    assert wrong < sum(a != b for a, b in zip(without, texts, strict=True))


def test_new_words_can_be_written_with_a_character_model() -> None:
    lm = train_lm(["abc abc"] * 5, VOCABULARY, order=5, unit="char")
    assert Decoder(16, 0.7, 1.0, "char").decode(outputs_of(["dcba"], noise=0.0), lm, VOCABULARY) == ["dcba"]


@pytest.mark.parametrize("changes", [{"order": -1}, {"beam_size": 0}, {"weights": []}])
def test_impossible_language_models_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="lm"):
        LanguageModelConfig(**changes)


# ---- training, bundle, recogniser ----


def test_a_head_start_trains_the_head_alone() -> None:
    torch.manual_seed(0)
    model = SpeechCtc(vocab_size=VOCABULARY.size, encoder_config=TINY, dropout=0.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = tones()
    first = train_head(model, data, num_epochs=1, learning_rate=1e-2)
    last = train_head(model, data, num_epochs=20, learning_rate=1e-2)
    assert last < first
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"output.weight", "output.bias"}


def test_the_head_start_passes_over_what_cannot_be_read() -> None:
    def read(clip: Clip) -> np.ndarray:
        if clip.id == "train-2":
            raise MediaError(clip.path, "is cut off")
        return tone_audio(clip)

    model = SpeechCtc(vocab_size=VOCABULARY.size, encoder_config=TINY, dropout=0.0)
    assert train_head(model, tones(read=read), num_epochs=1, learning_rate=1e-2) > 0

    def broken(clip: Clip) -> np.ndarray:
        raise MediaError(clip.path, "is cut off")

    with pytest.raises(UserError, match="none of 12 training clips can be read"):
        train_head(model, tones(read=broken), num_epochs=1, learning_rate=1e-2)


class Tiny(Recipe):
    def build(self) -> Any:
        model = SpeechCtcConfig(architecture=TINY, num_lstm_layers=1, lstm_width=24, dropout=0.0)
        data = ToneDataConfig(augment=OFF).build(model.features(), budget=3000)
        lm = LanguageModelConfig(order=3, weights=[0.3], token_bonuses=[0.5], beam_size=4)
        optimiser = OptimiserConfig(
            learning_rate=1e-2, encoder_factor=1.0, layer_decay=1.0, warmup_steps=2, head_epochs=1
        )
        return data, SpeechRecognition.of(model, data, lm=lm, optimiser=optimiser, name=self.name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runs")
    train = TrainConfig(max_steps=6, budget=3000, progress_bar=False, monitor=None, accelerator="cpu")
    return folder / "tiny", run(Tiny(name="tiny", runs_dir=str(folder), train=train))


def test_a_run_reports_rates_with_intervals_and_language_model(finished: tuple[Path, dict[str, Any]]) -> None:
    figures = finished[1]["metrics"]
    for name in ("wer", "cer", "wer_lm", "cer_lm"):
        assert figures[f"test/{name}_low"] <= figures[f"test/{name}"] <= figures[f"test/{name}_high"]
    assert figures["test/decoding_factor"] > 0


def test_a_bundle_becomes_the_same_model_without_any_donor(finished: tuple[Path, dict[str, Any]]) -> None:
    recogniser = AcousticModel.load(finished[0])
    assert recogniser.stride_seconds == 0.02
    assert recogniser.max_seconds == 30.0
    assert recogniser.language == "en"
    assert recogniser.normaliser.name == "english-2"
    assert set(recogniser.vocabulary.tokens[1:]) == set("abcd|")
    assert recogniser.decoder == {"beam_size": 4, "lm_weight": 0.3, "token_bonus": 0.5, "unit": "char"}
    assert recogniser.lm_path is not None
    assert gzip.decompress(recogniser.lm_path.read_bytes()).startswith(b"\\data\\")
    clips = ToneDataConfig().clips("test")[:2]
    audio = [tone_audio(clips[0]), tone_audio(clips[1])[:9000]]
    together = recogniser.log_probs(audio)
    assert together.num_steps.tolist() == [(len(a) // 160 + 1) // 2 for a in audio]
    for index, clip in enumerate(audio):
        alone = recogniser.log_probs([clip])
        size = int(alone.num_steps[0])
        torch.testing.assert_close(together.log_probs[index, :size], alone.log_probs[0], atol=1e-5, rtol=1e-4)


def test_very_short_audio_gives_steps(finished: tuple[Path, dict[str, Any]]) -> None:
    encoded = AcousticModel.load(finished[0]).log_probs([np.zeros(0, np.float32), np.zeros(10, np.float32)])
    assert encoded.num_steps.min() >= 1
    assert bool(encoded.log_probs.isfinite().all())


def test_no_audio_is_a_programming_error(finished: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="at least one clip"):
        AcousticModel.load(finished[0]).log_probs([])


def test_other_bundles_are_refused(tmp_path: Path) -> None:
    linear = torch.nn.Linear(2, 2)
    bundle.save(tmp_path / "sign", kind="slr.pose_conv", model=linear, config={}, vocabulary=VOCABULARY)
    with pytest.raises(ArtefactError, match=r"a model of kind 'slr\.pose_conv'; .* takes 'asr\.speech_ctc'"):
        AcousticModel.load(tmp_path / "sign")
    config = {"features": MEL.to_dict(), "model": SpeechCtcConfig(architecture=TINY).arguments(vocab_size=6)}
    bundle.save(tmp_path / "odd", kind="asr.speech_ctc", model=linear, config=config, vocabulary=VOCABULARY)
    with pytest.raises(ArtefactError, match="weights and configuration don't fit"):
        AcousticModel.load(tmp_path / "odd")
    bundle.save(tmp_path / "mute", kind="asr.speech_ctc", model=linear, config=config)
    with pytest.raises(ArtefactError, match=r"holds no vocabulary\.json"):
        AcousticModel.load(tmp_path / "mute")


def test_bundle_config_is_plain(finished: tuple[Path, dict[str, Any]]) -> None:
    loaded = bundle.load(finished[0])
    assert loaded.kind == "asr.speech_ctc"
    json.dumps(loaded.config)
    assert loaded.info["num_test_texts_in_train"] >= 0


@pytest.mark.parametrize("changes", [{"learning_rate": 0.0}, {"layer_decay": 0.0}, {"head_epochs": -1}])
def test_impossible_optimisers_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="optimiser"):
        OptimiserConfig(**changes)


def test_a_clip_beyond_the_encoders_positions_is_refused_before_training(tmp_path: Path) -> None:
    class Short(Tiny):
        def build(self) -> Any:
            data, module = super().build()
            module.encoder.encoder.max_seconds = 1.0  # a tone clip has 1.4 s
            return data, module

    train = TrainConfig(max_steps=1, accelerator="cpu", progress_bar=False, budget=3000)
    with pytest.raises(ConfigError, match=r"train clip 'train-0' is 1\.4 s long, the encoder takes 1 s; leave it out"):
        run(Short(name="short", runs_dir=str(tmp_path), train=train))
