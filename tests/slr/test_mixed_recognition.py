"""Training beside auxiliary corpora: whose labels, which heads, what is exported, exact resume, starting weights."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from signwave import bundle, manifest
from signwave.errors import ConfigError, UserError
from signwave.manifest import Clip
from signwave.mixing import Ramp
from signwave.recipe import TrainConfig, run
from signwave.text import Vocabulary
from signwave.training import checkpoints
from signwave.training.mixed_data import MixedData
from slr.crosslingual.mapping import MappedSign, Mapping, write_mapping
from slr.crosslingual.relabel_stage import relabel_manifest
from slr.crosslingual.relabelling import Relabelling
from slr.infer import Recognizer
from slr.models.interface import HeadLosses
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.training.auxiliary import AuxiliaryConfig, AuxiliaryCorpus
from slr.training.corpus import CorpusConfig
from slr.training.decoder_choice import GlossLmConfig
from slr.training.losses import objective
from slr.training.mixed_recognition import MixedRecognition
from slr.training.recipe import OptimiserConfig, RecognitionRecipe

SMALL = {"dim": 16, "group_dim": 8, "num_blocks": 1, "num_heads": 2, "kernel_size": 1, "stream_kernel_size": 3}
SHAPES = {"X": 1, "Y": 2, "Z": 3, "a": 1, "b": 2, "d": 4}
TEXTS = {"own": ["X Y", "Y", "Y X", "X", "Y Y", "Z X"], "other": ["a b", "d a", "b d", "a", "b a d"]}


@dataclass
class Hands(RecognitionRecipe):
    """Hand shapes, keypoints."""

    model: KeypointConformerConfig = field(default_factory=lambda: KeypointConformerConfig(**SMALL))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory, write_pose: Any) -> Path:
    """own: target. other: native glosses. as_own: relabelled, with a wildcard and a mixture."""
    root = tmp_path_factory.mktemp("corpora")
    for name, texts in TEXTS.items():
        clips = []
        for number, text in enumerate(texts):
            path = write_pose(root / name / f"{number}.pose", [SHAPES[gloss] for gloss in text.split()])
            size = 10 * len(text.split())
            clips.append(
                Clip(id=f"{name}-{number}", path=path.name, kind="pose", num_frames=size, rate_hz=25.0, text=text)
            )
        for split in ("train", "dev", "test"):
            part = clips if split == "train" else clips[:3]
            manifest.write(root / name / f"{split}.jsonl.gz", part)
    sha256 = manifest.file_hash(root / "other" / "train.jsonl.gz")
    rows = (
        MappedSign("a", "X", True, candidates=(("X", 0.7), ("Z", 0.3))),
        MappedSign("b", "Y", True),
        MappedSign("d", None, False),
    )
    write_mapping(root / "map.tsv", Mapping(rows, {"auxiliary_manifest_sha256": sha256}))
    relabel_manifest(
        root / "other" / "train.jsonl.gz", root / "map.tsv", root / "as_own", settings=Relabelling(top=2),
        target=root / "own" / "train.jsonl.gz",
    )  # fmt: skip
    return root


def recipe(root: Path, runs: Path, *, labels: str = "target", **changes: Any) -> Hands:
    folder = root / ("as_own" if labels == "target" else "other")
    auxiliary = AuxiliaryConfig(corpora={"other": str(folder)}, labels=labels)  # type: ignore[arg-type]
    data = CorpusConfig(manifest_dir=str(root / "own"), fewest=0.9, most=1.1, max_items=3)
    train = TrainConfig(
        max_steps=10, budget=200, val_every_steps=10, accelerator="cpu", num_threads=1, progress_bar=False,
        monitor=None, log_every_steps=1,
    )  # fmt: skip
    values: dict[str, Any] = {
        "name": "mixed", "runs_dir": str(runs), "data": data, "train": train, "auxiliary": auxiliary,
        "optimiser": OptimiserConfig(name="adamw", learning_rate=3e-3), "lm": GlossLmConfig(order=0),
    }  # fmt: skip
    return Hands(**{**values, **changes})


def parts_of(made: Hands) -> tuple[MixedData, MixedRecognition]:
    data, module = made.build()
    assert isinstance(data, MixedData)
    assert isinstance(module, MixedRecognition)
    return data, module


def batches(made: Hands, num: int = 10) -> list[Any]:
    data, _ = parts_of(made)
    data.num_train_batches = num
    return list(data.train_dataloader())


def test_batches_are_of_one_corpus_and_labels_may_lie_beyond_the_vocabulary(corpora: Path, tmp_path: Path) -> None:
    found = batches(recipe(corpora, tmp_path))
    assert {batch.corpus for batch in found} == {"", "other"}
    for batch in found:
        prefix = "other" if batch.corpus else "own"
        assert all(name.startswith(f"{prefix}-") for name in batch.ids)
    _, module = parts_of(recipe(corpora, tmp_path))
    size = module.vocabulary.size
    labels = torch.cat([batch.labels.flatten() for batch in found if batch.corpus])
    assert size <= int(labels.max()) < size + 2, "the mixture and the wildcard"
    assert all(int(batch.labels.max()) < size for batch in found if not batch.corpus)


def test_dev_and_test_are_the_targets_alone(corpora: Path, tmp_path: Path) -> None:
    data, module = parts_of(recipe(corpora, tmp_path))
    for split in ("val", "test"):
        assert [clip.id for clip in data.splits[split].clips] == ["own-0", "own-1", "own-2"]  # type: ignore[union-attr]
    assert module.train_texts == TEXTS["own"]


@pytest.mark.parametrize("labels", ["target", "native"])
def test_a_run_learns_from_both_and_exports_the_plain_model(corpora: Path, tmp_path: Path, labels: str) -> None:
    results = run(recipe(corpora, tmp_path, labels=labels))
    assert np.isfinite(results["metrics"]["train/other/loss"])
    stored = bundle.load(tmp_path / "mixed")
    plain = KeypointConformerConfig(**SMALL).build(vocab_size=4)
    assert set(stored.state_dict()) == set(plain.state_dict())
    assert stored.vocabulary is not None
    assert stored.vocabulary.tokens == ("<blank>", "X", "Y", "Z")
    assert Recognizer.load(tmp_path / "mixed", device="cpu")(corpora / "own" / "0.pose").text is not None


def test_a_relabelled_batch_has_the_loss_of_its_extra_tokens_times_its_weight(corpora: Path, tmp_path: Path) -> None:
    made = recipe(corpora, tmp_path)
    made.auxiliary.weight = [[0, 0.25], [1, 0.25]]
    _, module = parts_of(made)
    module.eval()
    batch = next(batch for batch in batches(made) if batch.corpus)
    batch = dataclasses.replace(batch.resampled(), chances=None)
    logged: dict[str, float] = {}
    module.log = lambda name, value, **_: logged.update({name: float(value)})  # type: ignore[method-assign]
    module.trainer = type("T", (), {"world_size": 1, "estimated_stepping_batches": 10, "global_step": 0})()  # type: ignore[assignment]
    loss = module.training_step(batch, 0)
    extra: Any = module.extras[0]
    heads = module.model.heads(batch.inputs, batch.num_frames)
    expected = objective(heads, batch, module.head_losses, ctc=extra.loss).total
    assert float(loss.detach()) == pytest.approx(0.25 * float(expected.detach()), rel=1e-6)
    assert logged["train/other/loss"] == pytest.approx(float(expected.detach()), rel=1e-6)


def test_native_heads_learn_and_the_targets_head_does_not_see_them(corpora: Path, tmp_path: Path) -> None:
    made = recipe(corpora, tmp_path, labels="native")
    _, module = parts_of(made)
    module.trainer = type("T", (), {"world_size": 1, "estimated_stepping_batches": 10, "global_step": 0})()  # type: ignore[assignment]
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    head: Any = module.native_heads[0]
    assert head["main"][1].weight.shape == (4, SMALL["dim"])  # a, b, d and the blank
    batch = next(batch for batch in batches(made) if batch.corpus)
    module.training_step(dataclasses.replace(batch.resampled(), chances=None), 0).backward()
    assert head["main"][1].weight.grad.abs().max() > 0
    assert module.model.output.weight.grad is None
    assert module.model.join[0].weight.grad.abs().max() > 0
    trained = {id(p) for group in module._groups(module.model) for p in group["params"]}
    assert {id(p) for p in module.native_heads.parameters()} <= trained


@pytest.mark.parametrize("labels", ["target", "native"])
def test_resume_after_a_crash_is_exact(
    corpora: Path, tmp_path: Path, labels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(name: str, **options: Any) -> dict[str, torch.Tensor]:
        made = recipe(corpora, tmp_path, labels=labels, name=name)
        run(dataclasses.replace(made, train=dataclasses.replace(made.train, checkpoint_every_steps=3)), **options)
        path = checkpoints.latest_valid(tmp_path / name / "checkpoints")
        assert path is not None
        state: dict[str, torch.Tensor] = checkpoints.load(path)["state_dict"]
        return state

    whole = train("whole")
    step = MixedRecognition.training_step

    def crash(self: MixedRecognition, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 7:
            raise RuntimeError("on purpose")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(MixedRecognition, "training_step", crash)
        with pytest.raises(RuntimeError, match="on purpose"):
            train("cut")
    resumed = train("cut", resume=True)
    assert set(whole) == set(resumed)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_run_starts_from_another_with_other_glosses(corpora: Path, tmp_path: Path) -> None:
    made = recipe(corpora, tmp_path, auxiliary=AuxiliaryConfig(), name="own")
    run(made)
    given = bundle.load(tmp_path / "own").state_dict()
    same = dataclasses.replace(made, initial_run=str(tmp_path / "own")).build()[1].model.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(same[name], value) for name, value in given.items())
    other = dataclasses.replace(made, data=dataclasses.replace(made.data, manifest_dir=str(corpora / "other")))
    begun = dataclasses.replace(other, initial_run=str(tmp_path / "own")).build()[1].model.state_dict()  # type: ignore[union-attr]
    assert not torch.equal(begun["output.weight"], given["output.weight"]), "as many glosses, but others"
    assert all(torch.equal(begun[name], value) for name, value in given.items() if not name.startswith("output."))
    wider = dataclasses.replace(made, model=KeypointConformerConfig(**{**SMALL, "dim": 32}))
    with pytest.raises(ConfigError, match="of this model's shape; give a run with the same model settings"):
        dataclasses.replace(wider, initial_run=str(tmp_path / "own")).build()


def test_corpora_that_do_not_belong_are_refused(corpora: Path, tmp_path: Path) -> None:
    def with_corpus(folder: Path, labels: str = "target", **changes: Any) -> Hands:
        auxiliary = AuxiliaryConfig(corpora={"other": str(folder)}, labels=labels)  # type: ignore[arg-type]
        return recipe(corpora, tmp_path, **{"auxiliary": auxiliary, **changes})

    with pytest.raises(UserError, match="isn't relabelled; make it with `slr relabel"):
        with_corpus(corpora / "other").build()
    with pytest.raises(UserError, match=r"is relabelled, and auxiliary.labels=native wants its own"):
        with_corpus(corpora / "as_own", "native").build()
    with pytest.raises(UserError, match="no such folder; make it with `slr prepare CORPUS RAW OUT` and give it: aux"):
        with_corpus(corpora / "nowhere", "native").build()
    data = CorpusConfig(manifest_dir=str(corpora / "other"))
    with pytest.raises(UserError, match=r"was relabelled for another target than .*other.train"):
        with_corpus(corpora / "as_own", data=data).build()


def test_a_model_without_features_takes_no_native_labels(corpora: Path) -> None:
    class Plain(torch.nn.Module):
        def losses(self) -> HeadLosses:
            return HeadLosses()

    vocabulary = Vocabulary(("<blank>", "X"))
    native = AuxiliaryCorpus("other", [], vocabulary=vocabulary)
    with pytest.raises(ConfigError, match="Plain lends no features to other heads"):
        MixedRecognition(Plain(), auxiliary=[native], weight=Ramp([[0, 1]]), vocabulary=vocabulary)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"share": [[0, 1.5]]}, "auxiliary.share must not leave"),
        ({"weight": []}, "auxiliary.weight: a schedule is a list"),
        ({"share": [[0.5, 0.1], [0.2, 0.1]]}, "progress must rise"),
        ({"alpha": -1.0}, "alpha and star_penalty must be at least 0"),
        ({"corpora": {"target": "x"}}, "'target' and '' name no auxiliary corpus"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        AuxiliaryConfig(**values)


def test_a_schedule_needs_the_length_of_the_run(corpora: Path, tmp_path: Path) -> None:
    made = recipe(corpora, tmp_path)
    endless = dataclasses.replace(made.train, max_steps=None, max_minutes=1.0)
    with pytest.raises(ConfigError, match=r"mixed by a schedule over the run; set train.max_steps"):
        run(dataclasses.replace(made, train=endless))


def test_settings_come_from_the_command_line(corpora: Path, tmp_path: Path) -> None:
    from signwave import config

    words = ["auxiliary.corpora.csl=data/csl", "auxiliary.share=[[0,0.5556],[0.8,0.5556],[1,0]]", "auxiliary.alpha=0"]
    found = config.load(Hands, None, words)
    assert found.auxiliary.corpora == {"csl": "data/csl"}
    assert found.auxiliary.share[1] == [0.8, 0.5556]
    assert json.loads(json.dumps(config.plain(found)))["auxiliary"]["alpha"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["target", "native"])
def test_two_ranks_train_on_both(corpora: Path, tmp_path: Path, repository: Path, labels: str) -> None:
    """Each step leaves some head without a gradient; the ranks must not wait for it, or stop."""
    folder = corpora / ("as_own" if labels == "target" else "other")
    small = [f"model.{name}={value}" for name, value in SMALL.items()]
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
        str(repository / "recipes" / "slr" / "signers_keypoints.py"), "name=two", f"runs_dir={tmp_path}",
        f"data.manifest_dir={corpora / 'own'}", f"auxiliary.corpora.other={folder}", f"auxiliary.labels={labels}",
        "data.max_items=2", "train.max_steps=6", "train.val_every_steps=6", "train.accelerator=cpu", "train.devices=2",
        "train.strategy=ddp", "train.num_threads=1", "train.monitor=null", "lm.order=0", *small,
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert results["num_steps"] == 6
    assert np.isfinite(results["metrics"]["train/other/loss"])
