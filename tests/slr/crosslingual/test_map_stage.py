"""`slr map` end to end: with a recogniser that is made up, and with a tiny real one on pose clips."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from signwave import bundle, command, manifest
from signwave.errors import ArtefactError, ManifestError, UserError
from signwave.manifest import Clip
from slr.commands import map as map_command
from slr.crosslingual import evidence, map_stage
from slr.crosslingual.building import Dictionaries, Rules, weigh
from slr.crosslingual.map_stage import MapReport, map_dictionaries
from slr.crosslingual.mapping import read_mapping
from slr.crosslingual.parts import Parts
from slr.crosslingual.segments import BLANK_GLOSS, Segment, SegmentsHeader, write_segments
from slr.crosslingual.signs import Sign, load_signs
from slr.isolated.infer import IsolatedRecognizer, Seen
from slr.isolated.model import IsolatedSigns
from slr.medium import ISOLATED_KIND

TARGETS = {"W": 0, "X": 1, "Y": 2, "Z": 3}
AUXILIARY = {"A": 2, "B": 0, "C": 3, "D": 5}
"""Gloss → the direction that its signs lie in; what has one direction looks alike."""
CLIPS_A_GLOSS = 6


class Fake:
    """Sees the direction of a sign's gloss; clips whose name ends in "bad" can't be read.

    Args:
        root: where its dictionaries lie; each call of `see` leaves the first clip's name in root/looks.
        die_at: call in which the process is killed.
    """

    languages = ("aux", "dgs")
    name, digest = "fake", "d" * 64

    def __init__(self, root: Path, *, die_at: int = -1) -> None:
        self.root, self.die_at, self.num_calls = root, die_at, 0
        self.sources = {
            name: {"path": str(root / f"{name}.jsonl"), "sha256": manifest.file_hash(root / f"{name}.jsonl")}
            for name in self.languages
        }
        self.directions = np.random.default_rng(0).normal(size=(8, 16))

    def glosses(self, language: str) -> tuple[str, ...]:
        return (BLANK_GLOSS, *(TARGETS if language == "dgs" else AUXILIARY))

    def known(self, language: str) -> str:
        if language not in self.languages:
            raise UserError(f"no language '{language}'")
        return language

    def temperature(self, language: str) -> float:
        return {"dgs": 0.5}.get(language, 1.0)

    def see(self, signs: Sequence[Sign], *, quiet: bool = True) -> Seen:
        with open(self.root / "looks", "a") as file:
            file.write(f"{signs[0].clip.id}\n")
        if self.num_calls == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.num_calls += 1
        places = [{**TARGETS, **AUXILIARY}[sign.gloss] for sign in signs]
        noise = [np.random.default_rng(len(sign.clip.id) + ord(sign.clip.id[-1])).normal(size=16) for sign in signs]
        embeddings = self.directions[places] + 0.2 * np.stack(noise)
        log_probs = {}
        for name in self.languages:
            known = (TARGETS if name == "dgs" else AUXILIARY).values()
            logits = np.concatenate([np.full((len(signs), 1), -4.0), embeddings @ self.directions[list(known)].T], 1)
            log_probs[name] = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
        problems = {place: "broken" for place, sign in enumerate(signs) if sign.clip.id.endswith("bad")}
        for rows in (embeddings, *log_probs.values()):
            rows[list(problems)] = np.nan
        return Seen(embeddings.astype(np.float32), log_probs, problems)


def _write(root: Path, name: str, glosses: Sequence[str], *, suffix: str = "") -> Path:
    clips = [
        Clip(id=f"{n}-{gloss}{suffix}", path="x.pose", kind="pose", num_frames=9, text=gloss, language=name)
        for n, gloss in enumerate(gloss for gloss in glosses for _ in range(CLIPS_A_GLOSS))
    ]
    manifest.write(root / f"{name}.jsonl", clips)
    return root / f"{name}.jsonl"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two dictionaries of isolated clips, and the made-up recogniser under every name of a model."""
    _write(tmp_path, "aux", list(AUXILIARY))
    _write(tmp_path, "dgs", list(TARGETS))
    monkeypatch.setattr(IsolatedRecognizer, "load", lambda path, device="auto": Fake(tmp_path))
    return tmp_path


def _map(root: Path, out: str = "map.tsv", **options: Any) -> MapReport:
    return map_dictionaries(root / "aux.jsonl", "run", root / out, **options)


def _looks(root: Path) -> list[str]:
    """What was looked at since the last call."""
    path = root / "looks"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


# The table


def test_a_table_is_written(root: Path) -> None:
    report = _map(root)
    found = read_mapping(root / "map.tsv")
    assert found.targets == {"A": "Y", "B": "W", "C": "Z"}
    assert [row.source for row in found.rows][-1] == "D"
    assert found.header == {
        "auxiliary": "aux", "auxiliary_sha256": manifest.file_hash(root / "aux.jsonl"), "target": "dgs",
        "target_sha256": manifest.file_hash(root / "dgs.jsonl"), "model": "fake", "model_sha256": "d" * 64,
        "rules": "method=agree, min_score=0.2, min_support=5, min_split_half=0.5, mutual_only=False, num_neighbours=5, "
        "min_agreement=3, max_gap=0.5",
        "auxiliary_manifest_sha256": manifest.file_hash(root / "aux.jsonl"),
    }  # fmt: skip
    assert (report.is_old, report.problems, report.agreement) == (False, {}, None)
    assert report.summary == (
        f"{root / 'map.tsv'}: 3 of 4 glosses mapped, 18 of 24 tokens (75.0 %); 0 target glosses have several"
    )


def test_coverage_counts_the_tokens_of_the_aligned_corpus(root: Path) -> None:
    """A table of segments: each gloss of a sentence is a token, a blank is none."""
    clips = [Clip(id=f"c{n}", path="x.pose", kind="pose", num_frames=90, text="A B A D") for n in range(6)]
    manifest.write(root / "train.jsonl", clips)
    header = SegmentsHeader(
        "corpus", "csl", str(root / "train.jsonl"), manifest.file_hash(root / "train.jsonl"), "m", "0" * 64, 25.0, 4
    )
    rows = [
        Segment("corpus", clip.id, index, gloss, 8 * place, 8 * place + 8, 0.9, 0.8, False, 2, True)
        for clip in clips
        for place, (index, gloss) in enumerate([(0, "A"), (-1, BLANK_GLOSS), (1, "B"), (2, "A"), (3, "D")])
    ]

    class Lenient(Fake):
        def see(self, signs: Sequence[Sign], *, quiet: bool = True) -> Seen:
            return super().see([sign._replace(gloss="D") if sign.gloss == BLANK_GLOSS else sign for sign in signs])

    write_segments(root / "csl.parquet", header, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IsolatedRecognizer, "load", lambda path, device="auto": Lenient(root))
        (root / "truth.tsv").write_text("csl\tdgs\nA\tY\nB\tW\n<blank>\tX\n")
        report = map_dictionaries(
            root / "csl.parquet", "run", root / "csl.tsv", target="dgs", rules=Rules(min_agreement=2, max_gap=9),
            truth=root / "truth.tsv",
        )  # fmt: skip
    assert set(read_mapping(root / "csl.tsv").targets) == {"A", "B"}
    assert (report.coverage.num_tokens, report.coverage.num_mapped_tokens) == (24, 18)
    assert report.agreement is not None
    assert (report.agreement.num_right, report.agreement.num_shared) == (2, 2)


def test_an_edited_table_is_left_alone_and_counted(root: Path) -> None:
    _map(root)
    path = root / "map.tsv"
    text = path.read_text().replace("A\tY\tyes", "A\tX\tyes").replace("C\tZ\tyes", "C\tZ\tno")
    path.write_text("# looked through by two signers\n" + text)
    before = path.read_bytes()
    _looks(root)
    report = _map(root)
    assert report.is_old
    assert report.summary.startswith(f"{path}: 2 of 4 glosses mapped, 12 of 24 tokens (50.0 %)")
    assert report.summary.endswith("; it was there already")
    assert path.read_bytes() == before
    assert _looks(root) == []
    (root / "truth.tsv").write_text("aux\tdgs\nA\tY\nB\tW\nC\tZ\n<blank>\tW\n")
    report = _map(root, truth=root / "truth.tsv", picture=root / "map.png")
    assert report.agreement is not None
    assert (report.agreement.num_right, report.agreement.num_kept, report.agreement.num_shared) == (1, 2, 3)
    assert (root / "map.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert (path.read_bytes(), _looks(root)) == (before, [])


def _other_rules(root: Path) -> dict[str, Any]:
    return {"rules": Rules(min_score=0.4)}


def _other_agreement(root: Path) -> dict[str, Any]:
    return {"rules": Rules(min_agreement=2)}


def _other_auxiliary(root: Path) -> dict[str, Any]:
    _write(root, "aux", ["A", "B", "D"])
    return {"target": "dgs"}


def _other_model(root: Path) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_other_rules, r"other rules: another min score \(0\.2, not 0\.4\)"),
        (_other_agreement, r"other rules: another min agreement \(3, not 2\)"),
        (_other_auxiliary, r"another auxiliary \([0-9a-f]{8}…, not [0-9a-f]{8}…\)"),
        (_other_model, r"another model \(dddddddd…, not eeeeeeee…\)"),
        (lambda root: {"target": "aux"}, r"another target \(dgs, not aux\)"),
    ],
)
def test_other_inputs_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], dict[str, Any]], told: str
) -> None:
    _map(root)
    before = (root / "map.tsv").read_bytes()
    options = change(root)
    if change is _other_model:
        monkeypatch.setattr(Fake, "digest", "e" * 64)
    _looks(root)
    with pytest.raises(
        ArtefactError, match=rf"map\.tsv: a mapping with {told}; give another name, or --overwrite"
    ) as caught:
        _map(root, **options)
    assert "\n" not in str(caught.value)
    assert (root / "map.tsv").read_bytes() == before
    assert _looks(root) == [], "refused before any work"
    report = _map(root, overwrite=True, **options)
    assert not report.is_old
    assert (root / "map.tsv").read_bytes() != before


def test_other_rules_need_no_new_look(root: Path) -> None:
    _map(root)
    assert _looks(root)
    _map(root, rules=Rules(method="posterior", min_score=0.1), overwrite=True)
    assert _looks(root) == []
    assert "D" in read_mapping(root / "map.tsv").targets, "the paper's rule keeps what only the classifier says"
    _write(root, "aux", ["A", "B", "C", "A"])
    _map(root, rules=Rules(), overwrite=True, target="dgs")
    assert [name for name in _looks(root) if name.endswith(("A", "B"))], "another dictionary is looked at"


def test_a_target_dictionary_that_changed_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Fake(root)
    monkeypatch.setattr(IsolatedRecognizer, "load", lambda path, device="auto": trained)
    _write(root, "dgs", ["W", "X", "Y"])
    with pytest.raises(ArtefactError, match=r"dgs\.jsonl: not the signs of 'dgs' that fake was trained on"):
        _map(root)
    (root / "dgs.jsonl").unlink()
    with pytest.raises(UserError, match=r"the signs of 'dgs' are not at \S+dgs\.jsonl; give them: --target-signs"):
        _map(root)
    trained.sources["dgs"]["sha256"] = manifest.file_hash(_write(root, "moved", ["W", "X", "Y"]))
    assert read_mapping(_map(root, target_signs=root / "moved.jsonl").out).header["target"] == "dgs"


def test_which_language_is_meant(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fake, "languages", ("aux", "dgs", "third"))
    _write(root, "third", ["W"])
    with pytest.raises(UserError, match="has the languages aux, dgs, third; say which one to map to: --target NAME"):
        _map(root)
    assert read_mapping(_map(root, target="dgs").out).header["target"] == "dgs"


def test_signs_that_cannot_be_read_are_named_by_language(root: Path) -> None:
    for name in ("aux", "dgs"):
        clips = list(manifest.read(root / f"{name}.jsonl"))
        clips += [Clip(id="1-bad", path="x", kind="pose", num_frames=9, text=clips[0].text, language=name)]
        manifest.write(root / f"{name}.jsonl", clips)
    report = _map(root, target="dgs")
    assert report.problems == {"aux: 1-bad": "broken", "dgs: 1-bad": "broken"}
    rows = {row.source: row for row in read_mapping(root / "map.tsv").rows}
    assert rows["A"].support == CLIPS_A_GLOSS, "support counts what was seen"
    assert report.coverage.num_tokens == 25, "coverage counts what is to be relabelled"


def test_signs_that_could_not_be_read_are_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the disk of the clips was missing; the others are not looked at again."""
    _map(root, "whole.tsv")
    see = Fake.see
    gone: tuple[str, ...] = tuple(AUXILIARY)

    def blind(self: Fake, signs: Sequence[Sign], *, quiet: bool = True) -> Seen:
        seen = see(self, signs)
        places = [place for place, sign in enumerate(signs) if sign.gloss in gone]
        for rows in (seen.embeddings, *seen.log_probs.values()):
            rows[places] = np.nan
        return seen._replace(problems=dict.fromkeys(places, "no disk"))

    monkeypatch.setattr(Fake, "see", blind)
    with pytest.raises(UserError, match=r"could be seen: 0 of aux, 4 of dgs; .* no disk"):
        _map(root)
    gone = ("B",)
    _looks(root)
    assert len(_map(root).problems) == CLIPS_A_GLOSS
    assert _looks(root) == ["0-A"], "the auxiliary signs, all of which were missing"
    monkeypatch.setattr(Fake, "see", see)
    assert _map(root, overwrite=True).problems == {}
    assert _looks(root) == [f"{CLIPS_A_GLOSS}-B"]
    assert (root / "map.tsv").read_bytes() == (root / "whole.tsv").read_bytes()


def test_parts_of_a_run_that_was_killed_at_the_end_are_swept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "remove", lambda self: os.kill(os.getpid(), signal.SIGKILL))
        assert _in_a_child(lambda: _map(root)) == signal.SIGKILL
    assert list((root / "map.tsv.cache").glob("*.parts"))
    _map(root)
    assert not list((root / "map.tsv.cache").glob("*.parts"))


def test_scores_without_calibration_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "calibrated" not in _map(root).summary
    monkeypatch.setattr(Fake, "temperature", lambda self, language: 1.0)
    assert _map(root).summary.endswith(
        "\nscores are not calibrated: fake had no dev signs of dgs when it was trained"
    )  # fmt: skip


def test_a_wrong_truth_is_told_before_any_work(root: Path) -> None:
    (root / "truth.tsv").write_text("aux\nA\n")
    with pytest.raises(ManifestError, match=r"truth\.tsv:2: needs an auxiliary gloss and a target gloss"):
        _map(root, truth=root / "truth.tsv")
    assert not (root / "map.tsv").exists()
    assert _looks(root) == []


def test_odd_names_do_not_make_a_table_foreign(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fake, "name", "  two  words: # and\tmore ")
    _map(root)
    assert _map(root).is_old


# Killed


def _in_a_child(work: Callable[[], object]) -> int:
    """The signal that ended a process that did this, 0 for none."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("die_at", range(6))
def test_after_kill_9_it_goes_on_where_it_was(root: Path, monkeypatch: pytest.MonkeyPatch, die_at: int) -> None:
    monkeypatch.setattr(evidence, "SIGNS_A_PART", 8)
    _map(root, "whole.tsv")
    parts = _looks(root)
    assert len(parts) == 6
    monkeypatch.setattr(IsolatedRecognizer, "load", lambda path, device="auto": Fake(root, die_at=die_at))
    assert _in_a_child(lambda: _map(root)) == signal.SIGKILL
    assert _looks(root) == parts[: die_at + 1]
    assert not (root / "map.tsv").exists()
    monkeypatch.setattr(IsolatedRecognizer, "load", lambda path, device="auto": Fake(root))
    assert not _map(root).is_old
    assert _looks(root) == parts[die_at:], "the part that was begun, and those after it"
    assert (root / "map.tsv").read_bytes() == (root / "whole.tsv").read_bytes()
    assert not list((root / "map.tsv.cache").glob("*.parts"))


def test_killed_before_the_table_it_looks_at_nothing_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(map_stage, "write_mapping", lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
        assert _in_a_child(lambda: _map(root)) == signal.SIGKILL
    assert len(_looks(root)) == 2
    assert read_mapping(_map(root).out).targets == {"A": "Y", "B": "W", "C": "Z"}
    assert _looks(root) == []


# The command, with a real model


def _slr(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("map", epilog=map_command.EXAMPLES)(map_command.map_signs)
    monkeypatch.setattr("sys.argv", ["slr", "map", *map(str, arguments), "--device", "cpu", "-q"])
    return command.run(app)


SHAPES = {"aux": {"A": 21, "B": 22, "C": 23, "D": 24}, "dgs": {"W": 21, "X": 22, "Y": 23, "Z": 29}}
"""Gloss → shape of the hand: A looks like W, B like X, C like Y."""


@pytest.fixture
def real(tmp_path: Path, write_pose: Any) -> Path:
    """Pose clips of two languages, and a recogniser whose classes are fitted to what its trunk, untrained, sees."""
    for name, shapes in SHAPES.items():
        clips = []
        for gloss, shape in shapes.items():
            for n in range(5):
                path = write_pose(tmp_path / name / f"{gloss}{n}.pose", [shape], frames_each=16 + n, scale=1 + n / 10)
                clips.append(
                    Clip(
                        id=f"{gloss}{n}", path=str(path), kind="pose", num_frames=16 + n, rate_hz=25.0, text=gloss,
                        language=name,
                    )
                )  # fmt: skip
        manifest.write(tmp_path / f"{name}.jsonl", clips)
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "trunk_kind": "slr.keypoint_conformer",
        "trunk": {"dim": 16, "group_dim": 8, "num_blocks": 1, "num_heads": 2},
        "num_classes": {name: 1 + len(shapes) for name, shapes in SHAPES.items()},
        "scale": 3000.0,  # what an untrained trunk sees differs little
    }
    dictionaries = {name: load_signs(tmp_path / f"{name}.jsonl") for name in SHAPES}
    info = {
        "name": "tiny", "rate_hz": 25.0, "window_frames": 16, "temperatures": {"aux": 1.0, "dgs": 2.0},
        "glosses": {name: [BLANK_GLOSS, *shapes] for name, shapes in SHAPES.items()}, "reads": "keypoints",
        "sources": {name: {"path": one.source, "sha256": one.sha256} for name, one in dictionaries.items()},
    }  # fmt: skip
    model = IsolatedSigns(**config)
    bundle.save(tmp_path / "run", kind=ISOLATED_KIND, model=model, config=config, info=info)
    recognizer = IsolatedRecognizer.load(tmp_path / "run", device="cpu")
    for number, (name, shapes) in enumerate(SHAPES.items()):
        seen = recognizer.see(dictionaries[name].signs).embeddings
        labels = np.asarray([list(shapes).index(sign.gloss) for sign in dictionaries[name].signs])
        prototypes = np.stack([seen[labels == label].mean(0) for label in range(len(shapes))])
        own = np.linalg.pinv(prototypes).T  # a cosine of 0 with every other gloss
        for classifiers in model.classifiers.values():
            weight = torch.from_numpy(np.vstack([-seen.mean(0, keepdims=True), own]))
            classifiers[number].weight.data.copy_(weight)  # type: ignore[index]
    bundle.save(tmp_path / "run", kind=ISOLATED_KIND, model=model, config=config, info=info)
    return tmp_path


def test_the_command_maps_counts_and_draws(
    real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (real / "truth.tsv").write_text("aux\tdgs\nA\tW\nB\tX\nC\tY\n")
    # What an untrained trunk sees of one shape from another distance is no nearer than another shape.
    arguments = (real / "aux.jsonl", real / "run", real / "map.tsv", "--truth", real / "truth.tsv", "--max-gap", 2)
    assert _slr(monkeypatch, *arguments, "--picture", real / "map.png", "--json") == command.EXIT_DONE
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert (found["out"], found["is_old"], found["problems"]) == (str(real / "map.tsv"), False, {})
    assert found["coverage"] == {
        "num_glosses": 4, "num_mapped": 3, "num_tokens": 20, "num_mapped_tokens": 15, "num_shared_targets": 0,
        "tokens": 0.75,
    }  # fmt: skip
    assert found["agreement"] == {"num_kept": 3, "num_right": 3, "num_shared": 3, "precision": 1.0, "recall": 1.0}
    assert read_mapping(real / "map.tsv").targets == {"A": "W", "B": "X", "C": "Y"}
    assert (real / "map.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert _slr(monkeypatch, *arguments) == command.EXIT_DONE
    first, second = capsys.readouterr().out.splitlines()
    assert "3 of 4 glosses mapped, 15 of 20 tokens (75.0 %); 0 target glosses have several; it was" in first
    assert second == "precision 100.0 % (3 of 3 kept), 100.0 % of the 3 signs that are really shared were found"
    assert _slr(monkeypatch, *arguments, "--min-agreement", 1) == command.EXIT_FAILED
    assert "other rules: another min agreement (3, not 1)" in capsys.readouterr().err
    assert _slr(monkeypatch, *arguments, "--min-agreement", 1, "--min-score", 0, "--overwrite") == command.EXIT_DONE
    assert read_mapping(real / "map.tsv").rows[0].agreement == 3
    assert "D" in read_mapping(real / "map.tsv").targets


def test_posteriors_are_calibrated(real: Path) -> None:
    """The mean of what the classifier of the target says, each divided by the temperature that was fitted on dev."""
    recognizer = IsolatedRecognizer.load(real / "run", device="cpu")
    auxiliary, target = load_signs(real / "aux.jsonl"), load_signs(real / "dgs.jsonl")
    found = Dictionaries(
        auxiliary, recognizer.see(auxiliary.signs), target, recognizer.see(target.signs), "dgs",
        recognizer.glosses("dgs"),
    )  # fmt: skip
    recognizer._temperatures["dgs"] = 1.0
    plain = np.exp(recognizer.see(auxiliary.signs).log_probs["dgs"].astype(np.float64))
    tempered = plain ** (1 / 2.0)
    tempered /= tempered.sum(1, keepdims=True)
    means = weigh(found, rules=Rules()).posteriors
    assert means == pytest.approx(tempered.reshape(4, 5, 5).mean(1), abs=1e-5)
    assert np.abs(means - plain.reshape(4, 5, 5).mean(1)).max() > 0.05


def test_what_the_command_refuses(
    real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object, code: int = command.EXIT_FAILED) -> str:
        assert _slr(monkeypatch, *arguments) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert code == command.EXIT_USAGE or len(captured.err.splitlines()) == 1
        return captured.err

    signs, run, out = real / "aux.jsonl", real / "run", real / "map.tsv"
    assert "tiny knows no language 'bsl'; it has aux, dgs" in refused(signs, run, out, "--target", "bsl")
    assert "none.parquet: no such table; make it with `slr align" in refused(real / "none.parquet", run, out)
    (real / "text.parquet").write_text("no table")
    assert "text.parquet: can't be read as a table" in refused(real / "text.parquet", run, out)
    sentences = [Clip(id="s", path="x.pose", kind="pose", text="A B")]
    manifest.write(real / "sentences.jsonl", sentences)
    assert "sentences.jsonl:1: clip 's' has 2 glosses" in refused(real / "sentences.jsonl", run, out)
    bundle.save(real / "other", kind="slr.pose_conv", model=torch.nn.Linear(1, 1), config={}, info={})
    assert "a model of kind 'slr.pose_conv', not 'slr.isolated'" in refused(signs, real / "other", out)
    assert str(real / "nowhere") in refused(signs, real / "nowhere", out)
    (real / "truth.tsv").write_text("aux,dgs\nA,W\n")
    assert "truth.tsv:2: needs an auxiliary gloss and a target gloss, separated by a tab" in refused(
        signs, run, out, "--truth", real / "truth.tsv"
    )
    out.write_text("source,target,keep\nA,W,yes\n")
    assert "map.tsv:1: no column 'source'" in refused(signs, run, out)
    out.write_text("source\ttarget\tkeep\nA\tW\tyes\n")
    assert "a mapping with another auxiliary (None, not aux)" in refused(signs, run, out)
    assert "min-agreement" in refused(signs, run, out, "--min-agreement", 4, code=command.EXIT_USAGE)
    assert "method" in refused(signs, run, out, "--method", "guess", code=command.EXIT_USAGE)
    assert out.read_text() == "source\ttarget\tkeep\nA\tW\tyes\n"
    assert not (real / "map.tsv.cache").exists(), "refused before any look"


def test_a_clip_that_is_missing(
    real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (real / "aux" / "A0.pose").unlink()
    arguments = (real / "aux.jsonl", real / "run", real / "map.tsv", "--min-support", 4, "--max-gap", 9)
    assert _slr(monkeypatch, *arguments) == command.EXIT_SOME_FAILED
    captured = capsys.readouterr()
    assert captured.err.startswith("not seen: aux: A0: ")
    assert "15 of 20 tokens" in captured.out
    assert {row.source: row.support for row in read_mapping(real / "map.tsv").rows} == {"A": 4, "B": 5, "C": 5, "D": 5}
    for path in (real / "aux").iterdir():
        path.unlink()
    assert _slr(monkeypatch, real / "aux.jsonl", real / "run", real / "new.tsv") == command.EXIT_FAILED
    assert "glosses that could be seen: 0 of aux, 4 of dgs; check that the clips of aux" in capsys.readouterr().err
