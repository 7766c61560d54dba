"""Conditions of a study: what is held equal between them, and what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signwave.errors import UserError
from signwave.mixing import Ramp, plan_batches
from slr.crosslingual.study.conditions import LABELS, RELABELLED, Material, share, training
from slr.crosslingual.study.corpora import Prepared, join
from slr.crosslingual.study.plan import StudyPlan
from slr.training.runs import Training

MATERIAL = Material(
    script=Path("recipe.py"),
    target=Prepared(Path("small"), "target", "t"),
    auxiliary=Prepared(Path("joined"), "joined", "j"),
    others=(Prepared(Path("data/csl"), "csl", "c"), Prepared(Path("data/asl"), "asl", "a")),
    target_steps=300,
    auxiliary_steps=200,
    settings=("optimiser.learning_rate=0.001",),
    relabelled=lambda name, seed: {one: (Path(f"labels/{name}/{one}"), f"{name}{seed}{one}") for one in ("csl", "asl")},
    run_path=lambda name: Path("runs") / name,
)


PLAN = {
    "target": Path("a"), "auxiliary": (Path("b"),), "out": Path("c"), "recipe": Path(__file__), "islr": Path(__file__)
}  # fmt: skip


def _value(one: Training, name: str) -> str:
    (found,) = [text for text in one.settings if text.startswith(f"{name}=")]
    return found.partition("=")[2]


@pytest.mark.parametrize("name", LABELS)
def test_every_condition_has_its_seed_the_common_settings_and_the_target(name: str) -> None:
    one = training(name, 4, MATERIAL)
    assert one.name == f"{name}-4"
    assert {"seed=4", "optimiser.learning_rate=0.001", "data.manifest_dir=small"} <= set(one.settings)
    assert one.inputs["target"] == "t"
    assert int(_value(one, "train.max_steps")) == (300 if name in ("target", "finetune") else 500)


@pytest.mark.parametrize("name", [*RELABELLED, "two_heads"])
def test_mixed_conditions_see_as_many_batches_of_the_target_as_the_others(name: str) -> None:
    ramp = Ramp(json.loads(_value(training(name, 0, MATERIAL), "auxiliary.share")))
    plan = plan_batches(500, ramp, [1.0])
    assert abs((plan == 0).sum() - 300) <= 1
    assert ramp.at(1.0) == 0
    assert not plan[-3:].any()


def test_relabelled_conditions_differ_in_their_sentences_alone() -> None:
    def rest(name: str) -> list[str]:
        return [text for text in training(name, 1, MATERIAL).settings if not text.startswith("auxiliary.corpora.")]

    assert len({tuple(rest(name)) for name in RELABELLED}) == 1
    assert rest("two_heads") == [*rest("mapped"), "auxiliary.labels=native"]
    for name in RELABELLED:
        assert _value(training(name, 1, MATERIAL), "auxiliary.corpora.csl") == f"labels/{name}/csl"
        assert _value(training(name, 1, MATERIAL), "auxiliary.corpora.asl") == f"labels/{name}/asl"
    assert training("random", 1, MATERIAL).inputs == {"target": "t", "csl": "random1csl", "asl": "random1asl"}
    native = training("two_heads", 1, MATERIAL)
    assert native.inputs == {"target": "t", "csl": "c", "asl": "a"}
    assert _value(native, "auxiliary.corpora.asl") == "data/asl"


def test_finetuning_starts_from_a_training_on_the_auxiliary_corpus_of_its_own_seed() -> None:
    one = training("finetune", 2, MATERIAL)
    before = one.after
    assert before is not None
    assert _value(before, "data.manifest_dir") == "joined"
    assert int(_value(before, "train.max_steps")) == 200
    assert _value(before, "seed") == "2"
    assert _value(one, "initial_run") == f"runs/{before.name}"


def test_a_share_that_cannot_be_annealed_is_refused() -> None:
    assert share(100, 900) == pytest.approx(1.0)
    with pytest.raises(UserError, match="901 auxiliary batches beside 99 of the target"):
        share(99, 901)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"conditions": ("target", "magic")}, "'magic' is unknown; allowed are target, same_steps"),
        ({"conditions": ("truth",)}, "needs the table"),
        ({"seeds": ()}, "at least one seed"),
        ({"target_steps": 0}, "steps and jobs of at least 1"),
        ({"islr": Path("no.py")}, "no.py: no such recipe"),
        ({"auxiliary": ()}, "auxiliary folders need different names"),
        ({"auxiliary": (Path("a/x"), Path("b/x"))}, "need different names.*got x, x"),
        ({"auxiliary": (Path("a/target"),)}, "none of them 'target'"),
    ],
)
def test_impossible_plans_are_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        StudyPlan(**{**PLAN, **change})  # type: ignore[arg-type]


def test_several_corpora_become_one_with_names_of_their_own(tmp_path: Path) -> None:
    from signwave import manifest
    from signwave.manifest import Clip

    for name in ("csl", "asl"):
        (tmp_path / name).mkdir()
        for split in ("train", "dev", "test"):
            clip = Clip(id="k", path=f"{split}.pose", kind="pose", text="A B", num_frames=9, rate_hz=25.0)
            manifest.write(tmp_path / name / f"{split}.jsonl.gz", [clip])
    corpora = [Prepared.open(tmp_path / name) for name in ("csl", "asl")]
    assert join(corpora[:1], tmp_path / "joined") == corpora[0]
    found = join(corpora, tmp_path / "joined")
    clips = list(manifest.read(found.split("dev")))
    assert [(clip.id, clip.text) for clip in clips] == [("csl/k", "csl/A csl/B"), ("asl/k", "asl/A asl/B")]
    assert [Path(clip.path).resolve() for clip in clips] == [tmp_path / "csl/dev.pose", tmp_path / "asl/dev.pose"]
    assert join(corpora, tmp_path / "joined") == found


def test_counts_of_all_mappings_are_added_and_rates_taken_of_the_sums() -> None:
    from slr.crosslingual.study.stages import pooled

    one = {"num_tokens": 10, "num_mapped_tokens": 5, "num_kept": 4, "num_right": 4, "num_shared": 5, "precision": 1.0}
    two = {"num_tokens": 30, "num_mapped_tokens": 5, "num_kept": 4, "num_right": 2, "num_shared": 7, "precision": 0.5}
    found = pooled({"a": one, "b": two})
    assert (found["token_coverage"], found["precision"], found["recall"]) == (0.25, 0.75, 0.5)
