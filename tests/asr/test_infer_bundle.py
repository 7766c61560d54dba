"""A real bundle of a tiny encoder, with and without its language model, through `Recognizer.load`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from asr import cli
from asr.acoustic_model import LM_FILE, AcousticModel
from asr.decoding import make_decoder, make_fusion
from asr.infer import Recognizer
from asr.models.speech_ctc import SpeechCtc
from asr.sources import Source
from signwave import bundle
from signwave.ctc import NgramLm, TokenFusion, WordFusion
from signwave.errors import ArtefactError, UserError
from signwave.text import Normaliser, Vocabulary

ENCODER = {
    "model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer", "do_stable_layer_norm": True,
}  # fmt: skip
FEATURES = {"kind": "waveform", "num_mel_bins": 80, "normalise": True}
WORDS = ["bad", "cab", "dab", "abba"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/tiny, as training leaves it: random weights, a language model of four words."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    torch.manual_seed(0)
    vocabulary = Vocabulary.build(["abcd abcd"], unit="char")
    model = SpeechCtc(vocab_size=vocabulary.size, encoder_config=ENCODER)
    with torch.no_grad():
        model.output.weight *= 8  # decided enough to say something
    lm = folder / "lm.arpa.gz"
    folder.mkdir()
    NgramLm.train([[word, other] for word in WORDS for other in WORDS], order=2).write_arpa(lm)
    bundle.save(
        folder / "bundle",
        kind="asr.speech_ctc",
        model=model,
        config={"features": FEATURES, "model": {"vocab_size": vocabulary.size, "encoder_config": ENCODER}},
        vocabulary=vocabulary,
        normaliser=Normaliser("none"),
        info={"language": "xx", "decoder": {"beam_size": 8, "lm_weight": 2.0, "token_bonus": 0.5, "unit": "word"}},
        files={LM_FILE: lm},
    )
    return folder


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, 16_000 * 3).astype(np.float32)


def test_a_run_folder_transcribes(run_dir: Path, noise: np.ndarray) -> None:
    recognizer = Recognizer.load(run_dir, device="cpu", lm=False)
    transcript = recognizer.transcribe(noise)
    assert transcript.status == "ok"
    assert set(transcript.text) <= set("abcd ")
    assert (transcript.model.name, transcript.language) == ("tiny", "xx")
    assert transcript.model.sha == bundle.load(run_dir).digest
    assert 0 <= transcript.words[0].start_seconds < transcript.words[-1].end_seconds <= 3.0


def test_batches_do_not_change_the_text(run_dir: Path, noise: np.ndarray) -> None:
    parts = [noise[: 16_000 * 3], noise[: 16_000 * 2], noise[:9_000]]
    recognizer = Recognizer.load(run_dir, device="cpu", lm=False, batch_size=8)
    together = recognizer.transcribe_many(Source(str(i), lambda part=part: [part]) for i, part in enumerate(parts))
    assert [t.text for t in together] == [recognizer.transcribe(part).text for part in parts]


def test_the_language_model_is_used_when_there_is_one_and_can_be_left_out(run_dir: Path, noise: np.ndarray) -> None:
    plain = Recognizer.load(run_dir, device="cpu", lm=False).transcribe(noise)
    with_lm = Recognizer.load(run_dir, device="cpu").transcribe(noise)
    assert with_lm.text != plain.text

    def known(words: list[str]) -> float:
        return sum(word in WORDS for word in words) / max(len(words), 1)

    assert known(with_lm.text.split()) >= known(plain.text.split())
    assert all(0 <= word.score <= 1 for word in with_lm.words)


def test_decoders_that_can_not_be_had(run_dir: Path) -> None:
    loaded = AcousticModel(bundle.load(run_dir))
    with pytest.raises(UserError, match="--beam 0: must be at least 1"):
        make_decoder(loaded, beam=0)
    loaded.lm_path = None
    with pytest.raises(ArtefactError, match="has no language model in its bundle"):
        make_decoder(loaded, lm=True)
    assert make_decoder(loaded).__name__ == "greedy"
    beam = make_decoder(loaded, beam=4)(torch.zeros(1, 4, 6).log_softmax(-1), torch.tensor([4]))
    assert len(beam) == 1


def test_a_language_model_is_put_behind_tokens_or_words() -> None:
    lm = NgramLm.train([["a", "b"]], order=2)
    spaced = Vocabulary(("<blank>", "a", "b", "|"), "char")
    weights = {"weight": 0.5, "bonus": 0.0}
    assert isinstance(make_fusion(lm, spaced, unit="char", **weights), TokenFusion)
    assert isinstance(make_fusion(lm, spaced, unit="word", **weights), WordFusion)
    assert isinstance(make_fusion(lm, Vocabulary(("<blank>", "a", "b")), unit="word", **weights), TokenFusion)
    with pytest.raises(ArtefactError, match=r"one of words, but the vocabulary has no '\|' between them; use --no-lm"):
        make_fusion(lm, Vocabulary(("<blank>", "a", "b"), "char"), unit="word", **weights)


def test_models_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["asr", "transcribe", "-m", str(tmp_path), str(tmp_path / "a.wav")])
    assert cli.main() == 1
    assert "holds no bundle.json" in capsys.readouterr().err


def test_real_recordings_in_several_containers(
    run_dir: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "speech" / "silero_vad_tests"
    monkeypatch.setattr(sys, "argv", ["asr", "transcribe", "-m", str(run_dir), str(folder), "--no-lm", "--json", "-q"])
    assert cli.main() == 0
    records = json.loads(capsys.readouterr().out)["records"]
    seconds = {Path(record["file"]).suffix: record["duration"] for record in records}
    assert seconds == {
        ".mp3": pytest.approx(2.53, abs=0.1), ".opus": pytest.approx(8.06, abs=0.1), ".wav": 60.0,
    }  # fmt: skip
    assert all(record["status"] == "ok" and record["rtf"] > 0 for record in records)
