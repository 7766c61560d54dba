"""The recipe of any prepared corpus: tokens from its texts, splits that may be missing, real corpora to the end."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from asr import cli
from asr.acoustic_model import AcousticModel
from asr.augment import AugmentConfig
from asr.corpus_recipe import CorpusCtc
from asr.data import SpeechDataConfig, ToneDataConfig
from asr.features import FeatureSettings
from asr.infer import Recognizer
from asr.language_model import LanguageModelConfig
from asr.models.speech_ctc import TINY, SpeechCtcConfig
from asr.optimiser import OptimiserConfig
from asr.recognition import SpeechRecognition
from asr.tokenizers.tokenizer import Tokenizer
from asr.tokenizers.training import Recipe as TokenizerRecipe
from asr.tokenizers.training import train as train_tokenizer
from signwave import manifest
from signwave.errors import ConfigError
from signwave.manifest import Clip
from signwave.recipe import TrainConfig, execute, run

MEL = FeatureSettings("log_mel")
QUICK = ["train.max_steps=3", "train.budget=3000", "train.progress_bar=false", "train.monitor=null",
         "train.max_epochs=null", "train.accelerator=cpu", "train.limit_eval_batches=2", "lm.order=2",
         "lm.beam_size=2", "lm.weights=[0.5]", "lm.token_bonuses=[0.0]"]  # fmt: skip


def clip(name: str, text: str, **changes: Any) -> Clip:
    return Clip(id=name, path=f"{name}.wav", kind="audio", text=text, num_frames=16000, rate_hz=16000.0,
                **{"language": "en", **changes})  # fmt: skip


def write(folder: Path, **splits: list[Clip]) -> str:
    for split, clips in splits.items():
        manifest.write(folder / f"{split}.jsonl.gz", clips)
    return str(folder)


# ---- which tokens, which clips ----


def test_rare_characters_get_no_token_and_their_clips_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = [clip("a", "aba"), clip("b", "ab ab"), clip("c", "aбb")]
    folder = write(tmp_path, train=train, dev=[clip("d", "ab"), clip("e", "б")], test=[clip("f", "ba")])
    data = SpeechDataConfig(manifest_dir=folder, min_character_count=2).build(MEL, budget=1000)
    assert data.vocabulary.tokens[1:] == ("a", "b", "|")  # the space occurs once, but it is no stray letter
    assert [c.id for c in data.splits["train"].clips] == ["a", "b"]
    assert "train: 1 of 3 clips left out, their texts hold what the vocabulary doesn't: 'c' with б" in caplog.text
    assert "dev: 1 of 2 clips left out" in caplog.text
    assert data.info["num_train_clips_left_out"] == 1
    every = SpeechDataConfig(manifest_dir=folder).build(MEL, budget=1000)
    assert every.vocabulary.tokens[1:] == ("a", "b", "|", "б")
    assert len(every.splits["train"]) == 3


def test_single_words_that_get_joined_need_a_space(tmp_path: Path) -> None:
    folder = write(tmp_path, train=[clip("a", "ab"), clip("b", "ba")])
    for share, tokens in ((0.0, ("a", "b")), (0.5, ("a", "b", "|"))):
        data = SpeechDataConfig(manifest_dir=folder, augment=AugmentConfig(join_probability=share))
        assert data.build(MEL, budget=1000).vocabulary.tokens[1:] == tokens


def test_splits_beside_train_may_be_missing(tmp_path: Path) -> None:
    data = SpeechDataConfig(manifest_dir=write(tmp_path, train=[clip("a", "ab")])).build(MEL, budget=1000)
    assert data.splits["val"] is None
    assert data.splits["test"] is None


def test_a_language_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    folder = write(tmp_path, train=[clip("a", "x", language="fa"), clip("b", "x", language="ur")])
    with pytest.raises(ConfigError, match=r"data\.language=ar.*train\.jsonl\.gz holds fa: 1, ur: 1"):
        SpeechDataConfig(manifest_dir=folder, language="ar").build(MEL, budget=1000)


@pytest.mark.parametrize("changes", [{"min_character_count": 0}, {"max_seconds": 0.0}, {"cache_hours": -1.0}])
def test_impossible_data_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^data:"):
        SpeechDataConfig(**changes)


# ---- pieces ----


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of the words that the tones spell."""
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = [row.text for row in ToneDataConfig().clips("train")]
    train_tokenizer(texts, TokenizerRecipe("bpe", 16), language="en").save(folder)
    return folder


def test_a_tokenizer_cuts_the_labels_and_is_checked_against_every_split(pieces: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(pieces)
    data = ToneDataConfig(tokenizer=str(pieces)).build(MEL, budget=3000)
    assert data.vocabulary == tokenizer.vocabulary
    assert data.normaliser == tokenizer.normaliser
    train = data.splits["train"]
    item = train.plain_item(0)
    assert item.labels.tolist() == tokenizer.encode(train.texts[0])
    assert len(item.labels) < len(train.texts[0])
    assert data.vocabulary.decode(item.labels.tolist()) == train.texts[0]
    folder = write(tmp_path, train=[clip("a", "кот")])
    with pytest.raises(ConfigError, match=r"train: the vocabulary can spell none of 1 clips, e\.g\. 'a' with"):
        SpeechDataConfig(manifest_dir=folder, tokenizer=str(pieces)).build(MEL, budget=1000)


def test_cuts_vary_with_the_draw_and_only_on_request(pieces: Path) -> None:
    from signwave.sampling import Draw

    def cuts(*, vary: bool) -> set[tuple[int, ...]]:
        data = ToneDataConfig(tokenizer=str(pieces), vary_cuts=vary).build(MEL, budget=3000)
        train = data.splits["train"]
        found = [tuple(train[Draw(0, seed)].labels.tolist()) for seed in (*range(60), 0)]
        assert found[0] == found[-1]
        assert {data.vocabulary.decode(labels) for labels in found} == {train.texts[0]}
        return set(found)

    assert len(cuts(vary=True)) > 1
    assert len(cuts(vary=False)) == 1


class Pieces(CorpusCtc):
    pass


def test_a_run_with_pieces_scores_words_and_its_bundle_carries_the_tokenizer(pieces: Path, tmp_path: Path) -> None:
    recipe = Pieces(
        name="pieces", runs_dir=str(tmp_path), data=ToneDataConfig(tokenizer=str(pieces)),
        model=SpeechCtcConfig(architecture=TINY), lm=LanguageModelConfig(order=2, weights=[0.5], token_bonuses=[0.0]),
        train=TrainConfig(max_steps=2, budget=3000, progress_bar=False, monitor=None, accelerator="cpu"),
    )  # fmt: skip
    metrics = run(recipe)["metrics"]
    assert {"test/wer", "test/cer", "val/cer", "test/wer_lm"} <= set(metrics)
    assert Tokenizer.load(tmp_path / "pieces").digest == Tokenizer.load(pieces).digest
    assert AcousticModel.load(tmp_path / "pieces").vocabulary.unit == "piece"


def test_pieces_need_a_model_of_pieces(pieces: Path) -> None:
    data = ToneDataConfig(tokenizer=str(pieces)).build(MEL, budget=3000)
    with pytest.raises(ConfigError, match=r"lm\.unit=word: pieces can't be looked up"):
        SpeechRecognition.of(SpeechCtcConfig(architecture=TINY), data, lm=LanguageModelConfig(unit="word"),
                             optimiser=OptimiserConfig(), name="x")  # fmt: skip


# ---- recipes on real corpora ----


def recipe_class(repository: Path, stem: str) -> Any:
    path = repository / "recipes" / "asr" / f"{stem}.py"
    spec = importlib.util.spec_from_file_location(stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module
    spec.loader.exec_module(module)
    return next(value for value in vars(module).values() if isinstance(value, type) and value.__module__ == stem)


@pytest.mark.parametrize(
    ("corpus", "folder", "settings", "language", "num_clips"),
    [
        ("arabic-speech-commands", "arabic_speech_commands", ["val=test", "dev_speakers=00000013"], "ar", 270),
        ("free-spoken-digits", "free_spoken_digit_dataset", ["test_speakers=theo,yweweler"], "en", 920),
    ],
)
def test_a_real_corpus_goes_from_prepare_to_a_transcript(
    corpus: str, folder: str, settings: list[str], language: str, num_clips: int, repository: Path, shared_data: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    raw = shared_data / "speech" / folder
    monkeypatch.setattr(sys, "argv", ["asr", "prepare", corpus, str(raw), str(tmp_path / "data"), *settings])
    assert cli.main() in (0, 3)  # 3: the Arabic copy lacks most recordings
    architecture = [f"model.architecture.{key}={value}" for key, value in TINY.items()]
    arguments = [f"data.manifest_dir={tmp_path / 'data'}", f"runs_dir={tmp_path}", *architecture, *QUICK]
    assert execute(recipe_class(repository, "folder_ctc"), arguments) == 0
    results = json.loads((tmp_path / "folder_ctc" / "results.json").read_text())
    assert results["num_steps"] == 3
    assert results["num_bad_items"] == {}
    assert 0 < results["metrics"]["test/wer"] <= 5
    assert 0 <= results["metrics"]["test/cer"] <= 5
    model = AcousticModel.load(tmp_path / "folder_ctc")
    assert model.language == language
    assert model.info["num_clips_train"] == num_clips
    test = list(manifest.read(tmp_path / "data" / "test.jsonl.gz"))
    recognizer = Recognizer.load(tmp_path / "folder_ctc")
    assert recognizer.transcribe(test[0].path).status in ("ok", "empty")


@pytest.mark.parametrize("stem", ["common_voice_ctc", "fleurs_ctc"])
def test_without_a_corpus_a_recipe_says_how_to_prepare_it(
    stem: str, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    architecture = [f"model.architecture.{key}={value}" for key, value in TINY.items()]
    assert execute(recipe_class(repository, stem), [f"runs_dir={tmp_path}", *architecture]) == 1
    told = f"make it with: asr prepare {stem.removesuffix('_ctc').replace('_', '-')} RAW"
    assert told in capsys.readouterr().err
