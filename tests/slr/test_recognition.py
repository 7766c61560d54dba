"""The training module of any recogniser: a whole small run, what it writes, and each option's effect."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from signwave import bundle
from signwave.ctc import NgramLm
from signwave.errors import ConfigError, MediaError, UserError
from signwave.recipe import TrainConfig, run
from signwave.sampling import Draw
from signwave.text import Vocabulary
from slr.datasets.moving_squares import MovingSquares
from slr.models.interface import HeadLosses
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.models.two_stream import TwoStreamConfig
from slr.training.corpus import CorpusConfig
from slr.training.data import collate
from slr.training.decoder_choice import GREEDY, GlossDecoder, GlossLmConfig, Scored, choose_decoder
from slr.training.recipe import OptimiserConfig, RecognitionRecipe, TwoStreamRecipe
from slr.training.recognition import SignRecognition

SMALL = {"dim": 24, "group_dim": 8, "num_blocks": 1, "num_heads": 2, "kernel_size": 3}


@dataclass
class Squares(RecognitionRecipe):
    """Keypoints of moving squares."""

    model: KeypointConformerConfig = field(default_factory=lambda: KeypointConformerConfig(**SMALL))


def recipe(folder: Path, **changes) -> Squares:
    data = MovingSquares(num_clips=6, fewest=0.9, most=1.1, max_items=6)
    train = TrainConfig(
        max_steps=4, budget=400, val_every_steps=4, accelerator="cpu", num_threads=1, progress_bar=False
    )
    optimiser = OptimiserConfig(name="adamw", learning_rate=3e-3)
    values = {"name": "squares", "runs_dir": str(folder), "data": data, "train": train, "optimiser": optimiser}
    return Squares(**{**values, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run(recipe(folder, protocols=["plain", "official-p14"], entropy_weight=0.01, prior_alpha=0.3))
    return folder / "squares"


def test_a_run_leaves_scores_by_protocol_and_tables(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    figures = results["figures"]
    assert set(figures) == {"decoder", "dev", "test"}
    assert set(figures["test"]) == {"plain", "official-p14"}
    assert figures["test"]["plain"]["num_sentences"] == 6
    assert results["metrics"]["test/wer_decoded"] == pytest.approx(figures["test"]["plain"]["wer"])
    tried = figures["decoder"]["tried_on_dev"]
    assert "greedy" in tried
    assert len(tried) == 2 + 4 * 2
    low, high = figures["test"]["plain"]["interval_95"]
    assert low <= figures["test"]["plain"]["wer"] <= high
    assert {"errors_dev.html", "errors_test.html"} <= {path.name for path in finished.iterdir()}
    assert json.loads((finished / "errors_test.json").read_text())


def test_hypotheses_are_files_that_score_to_the_same(finished: Path) -> None:
    from slr.scoring.evaluation import score

    again = score(finished, finished / "hypotheses" / "test.stm", protocol="plain")
    figures = json.loads((finished / "results.json").read_text())["figures"]["test"]["plain"]
    assert again.wer == figures["wer"]
    assert again.missing == ()


def test_the_bundle_holds_what_dev_chose(finished: Path) -> None:
    stored = bundle.load(finished)
    chosen = json.loads((finished / "results.json").read_text())["figures"]["decoder"]["chosen"]
    assert stored.kind == "slr.keypoint_conformer"
    assert stored.info["decoder"] == chosen
    assert stored.info["reads"] == "keypoints"
    assert stored.info["rate_hz"] == 25.0
    assert KeypointConformerConfig(**SMALL).build(vocab_size=5).state_dict().keys() == stored.state_dict().keys()


def test_a_clip_that_cannot_be_read_is_scored_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slr.datasets import moving_squares

    drawn = moving_squares.draw

    def broken(clip, **options):
        if clip.id in ("dev-1", "test-2"):
            raise MediaError(clip.path, "is broken")
        return drawn(clip, **options)

    monkeypatch.setattr(moving_squares, "draw", broken)
    made = recipe(tmp_path, lm=GlossLmConfig(order=0, beam_sizes=[]))
    made.data.num_clips = 12
    run(made)
    figures = json.loads((tmp_path / "squares" / "results.json").read_text())["figures"]
    assert figures["dev"]["plain"]["missing"] == ["dev-1"]
    assert figures["test"]["plain"]["missing"] == ["test-2"]
    assert figures["test"]["plain"]["num_sentences"] == 12
    assert ";; test-2" in (tmp_path / "squares" / "hypotheses" / "test.ctm").read_text()


def test_compiling_reaches_the_training_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def compile_nothing(function, **options):
        def called(*arguments, **keywords):
            calls.append(function.__name__)
            return function(*arguments, **keywords)

        return called

    monkeypatch.setattr(torch, "compile", compile_nothing)
    made = recipe(tmp_path, lm=GlossLmConfig(order=0, beam_sizes=[]))
    made.train.compile, made.train.max_steps = True, 2
    run(made)
    assert calls.count("heads") == 2
    assert "_call_impl" in calls


def test_priors_of_a_model_without_a_loss_on_its_main_head_are_refused(tmp_path: Path) -> None:
    made, _ = module(tmp_path)
    made.model.losses = lambda: HeadLosses({"rgb": 1.0, "pose": 1.0})
    with pytest.raises(ConfigError, match=r"prior_alpha=0.3 divides .* KeypointConformer trains only rgb, pose; give"):
        SignRecognition(made.model, vocabulary=made.vocabulary, prior_alpha=0.3)


def test_a_stream_that_stays_as_it_is_loaded_needs_weights_of_its_own() -> None:
    found = TwoStreamRecipe(name="two", model=TwoStreamConfig(freeze_rgb_blocks=1), frames_run="run")
    assert found.starts_trained("freeze_rgb_blocks")
    found = TwoStreamRecipe(name="two", model=TwoStreamConfig(freeze_pose_blocks=1), frames_run="run")
    with pytest.raises(ConfigError, match=r"model.freeze_pose_blocks=1 keeps layers as they are loaded, and nothing"):
        found.initialise(None)


def test_every_rank_chooses_its_decoder_on_all_of_dev(tmp_path: Path) -> None:
    _, data = module(tmp_path)
    data.max_items, data.trainer = 2, SimpleNamespace(global_rank=1, world_size=2)
    assert sum(len(batch) for batch in data.val_dataloader()) < 6
    assert sum(len(batch) for batch in data.whole_val_dataloader()) == 6


def module(tmp_path: Path, **changes) -> tuple[SignRecognition, object]:
    data, made = recipe(tmp_path, **changes).build()
    assert isinstance(made, SignRecognition)
    return made, data


def test_augmentation_is_for_training_alone(tmp_path: Path) -> None:
    made, data = module(tmp_path)
    train, dev = data.splits["train"], data.splits["val"]
    moved = made.on_after_batch_transfer(train.collate([train[Draw(0, 1)], train[Draw(1, 2)]]), 0)
    plain = dev.collate([dev[Draw(0, 1)], dev[Draw(1, 2)]])
    assert moved.take is None
    assert int(moved.num_frames.max()) == moved.inputs.shape[1]
    assert not np.isclose(moved.inputs[0, 0].numpy(), train[Draw(0, 1)].inputs[0]).all()
    assert torch.equal(made.on_after_batch_transfer(plain, 0).inputs, plain.inputs)


def test_glosses_that_training_never_saw_count_as_errors(tmp_path: Path) -> None:
    made, data = module(tmp_path)
    dev = data.splits["val"]
    item = dev[Draw(0, 0)]
    batch = collate([item._replace(text=f"{item.text} NEVER SEEN", labels=item.labels)])
    assert made.references(batch) == [f"{item.text} NEVER SEEN"]
    assert made.references(dataclasses.replace(batch, texts=())) == [item.text]


def test_priors_and_entropy_change_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: dict[str, Tensor] = {}
    for name, options in {
        "plain": {}, "entropy": {"entropy_weight": 0.5}, "priors": {"prior_alpha": 0.3}
    }.items():  # fmt: skip
        torch.manual_seed(0)
        made, data = module(tmp_path, **options)
        monkeypatch.setattr(made, "log", lambda *arguments, **keywords: None)
        made.eval()
        train = data.splits["train"]
        batch = made.on_after_batch_transfer(train.collate([train[Draw(n, n)] for n in range(3)]), 0)
        losses[name] = made.training_step(batch, 0).detach()
        if made.priors is not None:
            made.prior_every_steps = 1
            made.on_train_batch_end(None, batch, 0)
            after = made.training_step(batch, 1).detach()
            assert not torch.isclose(after, losses["priors"])
    # Uniform priors divide every path alike: steps × alpha × log V less.
    assert not torch.isclose(losses["plain"], losses["priors"])
    assert losses["entropy"] < losses["plain"]


def test_steps_fall_at_their_milestones(tmp_path: Path) -> None:
    settings = OptimiserConfig(name="adam", learning_rate=1.0, schedule="steps", milestones=[0.5, 0.75])
    made, _ = module(tmp_path, optimiser=settings)

    class Run:
        estimated_stepping_batches = 8

    made._trainer = Run()  # type: ignore[assignment]
    made._fabric = None
    found = made.configure_optimizers()
    assert type(found["optimizer"]) is torch.optim.Adam
    assert found["optimizer"].defaults["betas"] == (0.9, 0.998)
    factor = found["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [factor(step) for step in range(8)] == pytest.approx([1.0] * 4 + [0.2] * 2 + [0.04] * 2)


def posteriors(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows).log()


def test_the_decoder_with_the_fewest_errors_on_dev_wins_and_greedy_wins_ties() -> None:
    vocabulary = Vocabulary(("<blank>", "A", "B"))
    sure = posteriors([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    # One step torn between A and B: the language model has never seen B B.
    torn = posteriors([[0.1, 0.42, 0.48], [0.9, 0.05, 0.05], [0.02, 0.02, 0.96]])
    lm = NgramLm.train([["A", "B"]] * 20, order=2, vocabulary=["A", "B"])
    settings = GlossLmConfig(order=2, weights=[0.8], token_bonuses=[0.0])
    best, tried = choose_decoder([Scored(sure, "A B")], lm, vocabulary, settings)
    assert best == GREEDY
    assert tried == {"greedy": 0.0, "beam 10": 0.0, "beam 10, lm 0.8, bonus 0": 0.0}
    best, tried = choose_decoder([Scored(torn, "A B")], lm, vocabulary, settings)
    assert best == GlossDecoder(10, 0.8, 0.0)
    assert tried["greedy"] == 0.5
    assert math.isclose(tried[str(best)], 0.0)


def test_a_corpus_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.manifest_dir=\(empty\): no such folder; make it with `slr prepare"):
        CorpusConfig().load()
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(UserError, match=r"has no dev.jsonl.gz; it has train.jsonl; prepare the corpus"):
        CorpusConfig(manifest_dir=str(tmp_path)).load()


def test_a_split_without_glosses_is_refused_before_training(tmp_path: Path) -> None:
    row = {"path": "a.mp4", "kind": "video", "num_frames": 20, "rate_hz": 25.0}
    for split, text in (("train", "A B"), ("dev", "A"), ("test", "")):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"id": split, "text": text, **row}) + "\n")
    with pytest.raises(UserError, match="no clip of the split 'test' has a gloss"):
        CorpusConfig(manifest_dir=str(tmp_path)).load()


def test_squares_are_the_same_every_time() -> None:
    from slr.datasets.moving_squares import draw

    clip = MovingSquares().load().splits[0][0]
    for reads in ("frames", "keypoints", "features", "frames+keypoints"):
        first, second = (draw(clip, reads=reads, size_px=(16, 20), feature_dim=7) for _ in range(2))
        np.testing.assert_array_equal(first.inputs, second.inputs)
        assert len(first.inputs) == clip.num_frames
        assert (first.points is not None) == (reads == "frames+keypoints")
