"""The fine-tuning recipe: it begins as the run that spotted, keeps its classes, and refuses what doesn't fit."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from signwave import bundle, config, manifest
from signwave.errors import ConfigError, UserError
from signwave.manifest import Clip
from signwave.recipe import run as run_recipe
from slr.crosslingual.segments import BLANK_GLOSS, Segment, SegmentsHeader, read_segments, write_segments
from slr.isolated.domain import DomainRecipe, language_of
from slr.isolated.infer import IsolatedRecognizer
from slr.isolated.model import IsolatedSigns
from slr.medium import ISOLATED_KIND

GLOSSES = {"bsl": ["<blank>", "P", "Q"], "dgs": ["<blank>", "A", "B", "C", "D"]}
TRUNK: dict[str, Any] = {"dim": 32, "group_dim": 16, "num_heads": 2, "num_blocks": 1, "kernel_size": 3}
SETTINGS = [
    *(f"model.{name}={value}" for name, value in TRUNK.items()), "train.num_threads=1", "train.progress_bar=false",
    "train.num_workers=0", "train.accelerator=cpu", "data.num_bags=4", "data.num_instances=2", "data.dev_share=0.2",
]  # fmt: skip
Make = Callable[..., DomainRecipe]


@pytest.fixture(scope="module")
def recipe_class(repository: Path) -> type[DomainRecipe]:
    found: type[DomainRecipe] = runpy.run_path(str(repository / "recipes" / "slr" / "signers_domain_islr.py"))[
        "SignersDomainIslr"
    ]
    return found


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory, write_pose: Any) -> Path:
    """Ten clips with pseudo-labels of A and B alone, as `slr spot --language dgs` would write them."""
    folder = tmp_path_factory.mktemp("target")
    clips, rows = [], []
    for number in range(10):
        write_pose(folder / f"{number}.pose", [number % 2, 9, number % 2], frames_each=20)
        clips.append(Clip(id=f"c{number}", path=f"{number}.pose", kind="pose", num_frames=60, rate_hz=25.0))
        gloss = "AB"[number % 2]
        rows += [
            Segment("target", f"c{number}", 0, gloss, 1, 19, 0.9, 0.7, True, 3, True),
            Segment("target", f"c{number}", -1, BLANK_GLOSS, 22, 38, 0.8, 0.8, False, 1, True),
            Segment("target", f"c{number}", 1, gloss, 42, 58, 0.9, 0.9, False, 1, True),
        ]
    path = folder / "train.jsonl.gz"
    header = SegmentsHeader("target", "dgs", str(path), manifest.write(path, clips), "m", "0" * 64, 25.0, 1)
    write_segments(folder / "spots.parquet", header, rows)
    return folder / "spots.parquet"


@pytest.fixture(scope="module")
def agnostic(tmp_path_factory: pytest.TempPathFactory, recipe_class: type[DomainRecipe], repository: Path) -> Path:
    """A run of two languages with weights of chance."""
    torch.manual_seed(3)
    settings = config.load(recipe_class, repository / "conf" / "slr" / "signers_domain_islr.yaml", SETTINGS)
    return _save(tmp_path_factory.mktemp("agnostic") / "run", settings.model)


def _save(folder: Path, trunk: Any, *, kind: str = ISOLATED_KIND, **info: Any) -> Path:
    facts: dict[str, Any] = {
        "trunk_kind": "slr.keypoint_conformer",
        "trunk": {**vars(trunk), "vocab_size": 2},
        "num_classes": {name: len(glosses) for name, glosses in GLOSSES.items()},
        "classifier": "cosine",
        "scale": 30.0,
        "dropout": 0.1,
    }
    told = {
        "name": "agnostic", "rate_hz": 25.0, "window_frames": 16, "glosses": GLOSSES, "sources": {},
        "temperatures": dict.fromkeys(GLOSSES, 1.0), **info,
    }  # fmt: skip
    bundle.save(folder / "bundle", kind=kind, model=IsolatedSigns(**facts), config=facts, info=told)
    return folder


@pytest.fixture
def make(recipe_class: type[DomainRecipe], repository: Path, spots: Path, agnostic: Path, tmp_path: Path) -> Make:
    def made(*settings: str) -> DomainRecipe:
        found = config.load(
            recipe_class,
            repository / "conf" / "slr" / "signers_domain_islr.yaml",
            [
                *SETTINGS, f"data.languages.target={spots}", f"initial_run={agnostic}", f"runs_dir={tmp_path}",
                "name=aware", *settings,
            ],
        )  # fmt: skip
        return found

    return made


def test_everything_begins_as_it_was(make: Make, agnostic: Path) -> None:
    """The classifier of the only language that is trained is the run's second."""
    _, module = make().build()
    model: Any = module.model
    there = bundle.load(agnostic).state_dict()
    own = model.state_dict()
    for name, value in own.items():
        assert torch.equal(value, there[name.replace("classifiers.main.0", "classifiers.main.1")]), name
    assert own["classifiers.main.0.weight"].shape[0] == len(GLOSSES["dgs"])
    dev: Any = module.dictionaries["target"][0]
    assert dev.glosses == tuple(GLOSSES["dgs"]), "all classes stay, C and D too, of which nothing was spotted"


def test_two_dictionaries_take_the_classifiers_of_their_names(make: Make, agnostic: Path, spots: Path) -> None:
    made = make(f"data.languages.dgs={spots}")
    _, module = made.build()
    model: Any = module.model
    there = bundle.load(agnostic).state_dict()["classifiers.main.1.weight"]
    for number in (0, 1):
        assert torch.equal(model.state_dict()[f"classifiers.main.{number}.weight"], there)


def test_labels_are_those_of_the_run(make: Make) -> None:
    data, _ = make().build()
    train: Any = data
    bags = train.splits["train"]
    (dictionary,) = bags.dictionaries
    assert {(sign.gloss, label) for sign, label in zip(dictionary.signs, dictionary.labels, strict=True)} == {
        ("A", 1), ("B", 2), (BLANK_GLOSS, 0),
    }  # fmt: skip
    assert bags.windows.inside, "windows are crops of the spans"


def test_it_trains_and_can_spot_again(make: Make, spots: Path, agnostic: Path, tmp_path: Path) -> None:
    results = run_recipe(make("train.max_epochs=2"))
    assert results["figures"]["dev"]["target"]["num_signs"] > 0
    recognizer = IsolatedRecognizer.load(tmp_path / "aware", device="cpu")
    assert recognizer.languages == ("target",)
    assert list(recognizer.glosses("target")) == GLOSSES["dgs"]
    before = bundle.load(agnostic).state_dict()["classifiers.main.1.weight"]
    assert not torch.equal(recognizer.model.state_dict()["classifiers.main.0.weight"], before)
    assert json.loads((tmp_path / "aware" / "results.json").read_text())["num_skipped_steps"] == 0


def test_the_optimiser_of_the_paper(make: Make) -> None:
    _, module = make("paper_optimiser=true").build()
    training: Any = module
    optimiser = training.make_optimiser(list(training.model.parameters()))
    assert isinstance(optimiser, torch.optim.SGD)
    (group,) = optimiser.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.01, 0.9, 0, False)
    assert (training.schedule, training.warmup_steps) == ("constant", 0)
    _, module = make().build()
    ours: Any = module
    assert isinstance(ours.make_optimiser(list(ours.model.parameters())), torch.optim.AdamW)
    assert ours.schedule == "cosine"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["initial_run=''"], r"initial_run is empty; name the run of a recipe \*_islr"),
        (["model.num_heads=4"], r"was trained with model\.num_heads=2, not 4; give model\.num_heads=2"),
        (["scale=20"], r"was trained with scale=30\.0, not 20\.0; give scale=30\.0"),
        (["data.rate_hz=50"], r"was trained with data\.rate_hz=25\.0"),
        (["data.window_frames=8"], r"was trained with data\.window_frames=16, not 8"),
        (["weights_path=x.pth"], r"weights_path=x\.pth: everything comes from initial_run"),
    ],
)
def test_what_does_not_fit_is_refused(make: Make, settings: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        make(*settings).build()


def test_runs_of_other_kinds_are_refused(make: Make, agnostic: Path, tmp_path: Path) -> None:
    other = _save(tmp_path / "other", make().model, kind="slr.keypoint_conformer")
    with pytest.raises(ConfigError, match=r"of kind 'slr\.keypoint_conformer', not 'slr\.isolated'"):
        make(f"initial_run={other}").build()


def test_which_classifier_is_taken(agnostic: Path, spots: Path, make: Make, tmp_path: Path) -> None:
    stored = bundle.load(agnostic)
    assert language_of(stored, "bsl", str(spots)) == "bsl", "the name first"
    assert language_of(stored, "target", str(spots)) == "dgs", "then what it was spotted with"
    with pytest.raises(ConfigError, match=r"has classifiers of bsl, dgs; name the dictionary after the one"):
        language_of(stored, "target", "data/wlasl")


def test_glosses_that_the_run_does_not_have_are_left_out(
    make: Make, spots: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Named after the wrong language, none of its glosses is known."""
    made = make()
    made.data.languages = {"bsl": str(spots)}
    with pytest.raises(UserError, match="no gloss of the classifier has 1 training signs"):
        made.build()
    with pytest.raises(UserError, match="no gloss of the classifier has 99 training signs"):
        make("data.min_instances=99").build()
    table = read_segments(spots)
    rows = [row._replace(gloss="OTHER") if row.clip == "c0" and row.index >= 0 else row for row in table.rows]
    write_segments(spots.with_name("more.parquet"), table.header, rows)
    caplog.clear()
    data, _ = make(f"data.languages.target={spots.with_name('more.parquet')}").build()
    held: Any = data
    assert {sign.gloss for sign in held.splits["train"].dictionaries[0].signs} == {"A", "B", BLANK_GLOSS}
    assert "target: 1 glosses that the classifier doesn't have left out" in caplog.text
