"""Relabelled sentences: against a plain loop, and the folder as a stage: what it refuses, keeps and repeats."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from signwave import manifest
from signwave.ctc import ExtraTokens, min_steps
from signwave.errors import ArtefactError, UserError
from signwave.manifest import Clip
from signwave.text import Vocabulary
from slr import cli
from slr.crosslingual import relabel_stage
from slr.crosslingual.mapping import MappedSign, Mapping, write_mapping
from slr.crosslingual.relabel_stage import read_relabelled, relabel_manifest
from slr.crosslingual.relabelling import (
    Dropped,
    Relabelling,
    RelabelReport,
    Sentences,
    relabel,
)

TABLE = Mapping(
    (
        MappedSign("a", "X", True, candidates=(("X", 0.6), ("Y", 0.3), ("Z", 0.1))),
        MappedSign("b", "Y", True),
        MappedSign("c", "X", True, candidates=(("X", 0.9),)),
        MappedSign("d", "Z", False),
    ),
    {"auxiliary": "two", "target": "one"},
)


def clip(text: str, *, name: str = "k", num_frames: int = 400) -> Clip:
    return Clip(id=name, path=f"{name}.pose", kind="pose", num_frames=num_frames, rate_hz=25.0, text=text)


def plainly(glosses: list[str], how: Relabelling) -> str | None:
    """The rule once more: each sign by itself, then wildcards joined."""
    targets = {"a": "X", "b": "Y", "c": "X"}
    if how.top > 1:
        targets["a"] = "~a"
    num_mapped = sum(gloss in targets for gloss in glosses)
    least = len(glosses) if how.unmapped == "drop" else how.min_share * len(glosses)
    if not num_mapped or num_mapped < least:
        return None
    labels = [targets.get(gloss, "*" if how.unmapped == "wildcard" else "") for gloss in glosses]
    text = " ".join(label for label in labels if label)
    while "* *" in text and how.wildcard == "any":
        text = text.replace("* *", "*")
    num_steps = -(-400 // how.stride)
    needed = min_steps([hash(label) for label in text.split()])
    return text if needed <= num_steps else None


@settings(max_examples=300, deadline=None)
@given(
    glosses=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12),
    unmapped=st.sampled_from(["wildcard", "delete", "drop"]),
    top=st.sampled_from([1, 3]),
    min_share=st.sampled_from([0.0, 0.5, 1.0]),
    stride=st.sampled_from([4, 50, 100]),
    wildcard=st.sampled_from(["sign", "any"]),
)
def test_sentences_equal_the_plain_rule(
    glosses: list[str], unmapped: str, top: int, min_share: float, stride: int, wildcard: str
) -> None:
    how = Relabelling(unmapped, wildcard, top, min_share, stride)  # type: ignore[arg-type]
    sentences = Sentences(TABLE, how)
    report = RelabelReport("")
    kept, dropped = relabel([clip(" ".join(glosses))], sentences, report)
    assert ([one.text for one in kept] or [None]) == [plainly(glosses, how)]
    assert len(kept) + len(dropped) == report.num_clips == 1
    if kept:
        extra = ExtraTokens(Vocabulary(("<blank>", "X", "Y", "Z")), sentences.tokens)
        assert not extra.unknown(kept[0].text), "a label that training couldn't read"
        assert report.num_mapped + report.num_wildcards + report.num_deleted == report.num_tokens == len(glosses)
        stands_for = {"a": {"X", "Y", "Z"} if top > 1 else {"X"}, "b": {"Y"}, "c": {"X"}}
        assert report.num_targets == len(set().union(*(stands_for.get(gloss, set()) for gloss in glosses)))


def test_wildcards_are_one_for_each_sign_unless_they_may_be_blanks_and_repeats_stay() -> None:
    assert Sentences(TABLE, Relabelling(wildcard="sign"))(clip("d e a c f b")) == "* * X X * Y"
    sentences = Sentences(TABLE, Relabelling())
    assert sentences(clip("d e a c f b")) == "* X X * Y"
    report = RelabelReport("")
    relabel([clip("d e a c f b"), clip("a a")], sentences, report)
    assert (report.num_mapped, report.num_wildcards, report.num_repeats) == (5, 3, 1)
    assert sentences(clip("a c", num_frames=8)) == Dropped("k", "too short", "X X")
    assert sentences(clip("a b", num_frames=8)) == "X Y"
    assert sentences(clip("d e")) == Dropped("k", "unmapped", "d e")
    assert sentences(clip("")) == Dropped("k", "no gloss", "")


def test_soft_labels_keep_their_weights() -> None:
    sentences = Sentences(TABLE, Relabelling(top=2, wildcard="sign"))
    assert sentences(clip("a b c")) == "~a Y X"
    assert sentences.tokens == {"~a": pytest.approx({"X": 2 / 3, "Y": 1 / 3}), "*": "sign"}


@pytest.mark.parametrize("values", [{"top": 0}, {"min_share": 1.5}, {"stride": 0}, {"unmapped": "guess"}])
def test_impossible_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Relabelling(**values)  # type: ignore[arg-type]


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """other/train.jsonl.gz, own/train.jsonl.gz and map.tsv."""
    texts = ["a b", "d a", "e f", "c c c", ""]
    clips = [clip(text, name=f"k{n}", num_frames=16) for n, text in enumerate(texts)]
    for folder in ("other", "own"):
        (tmp_path / folder).mkdir()
    manifest.write(tmp_path / "other" / "train.jsonl.gz", clips)
    manifest.write(tmp_path / "own" / "train.jsonl.gz", [clip("X Y", name="own")])
    sha256 = manifest.file_hash(tmp_path / "other" / "train.jsonl.gz")
    write_mapping(tmp_path / "map.tsv", Mapping(TABLE.rows, {**TABLE.header, "auxiliary_manifest_sha256": sha256}))
    return tmp_path


def do(folder: Path, **options: object) -> RelabelReport:
    return relabel_manifest(folder / "other" / "train.jsonl.gz", folder / "map.tsv", folder / "out", **options)  # type: ignore[arg-type]


def test_a_folder_holds_sentences_reasons_and_what_it_was_made_from(corpora: Path) -> None:
    report = do(corpora, target=corpora / "own" / "train.jsonl.gz")
    assert (report.num_kept, report.num_dropped) == (2, {"unmapped": 1, "too short": 1, "no gloss": 1})
    found = read_relabelled(corpora / "out")
    assert [one.text for one in found.clips] == ["X Y", "* X"]
    assert found.tokens == {"*": "any"}
    assert found.target_sha256 == manifest.file_hash(corpora / "own" / "train.jsonl.gz")
    dropped = [json.loads(line) for line in (corpora / "out" / "dropped.jsonl").read_text().splitlines()]
    assert [(one["clip"], one["reason"]) for one in dropped] == [
        ("k2", "unmapped"), ("k3", "too short"), ("k4", "no gloss"),
    ]  # fmt: skip
    assert Path(found.clips[0].path).resolve() == (corpora / "other" / "k0.pose").resolve()
    moved = shutil.copytree(corpora, corpora.parent / "moved")
    assert Path(read_relabelled(moved / "out").clips[0].path).resolve() == (moved / "other" / "k0.pose").resolve()


def test_doing_it_again_does_nothing_and_other_inputs_are_refused(corpora: Path) -> None:
    first = do(corpora)
    before = {path.name: path.stat().st_mtime_ns for path in (corpora / "out").iterdir()}
    again = do(corpora)
    assert again.is_old
    assert (again.num_kept, again.num_mapped) == (first.num_kept, first.num_mapped)
    assert {path.name: path.stat().st_mtime_ns for path in (corpora / "out").iterdir()} == before
    with pytest.raises(ArtefactError, match="was relabelled with another unmapped"):
        do(corpora, settings=Relabelling(unmapped="delete"))
    with open(corpora / "map.tsv", "a", encoding="utf-8") as file:
        file.write("e\tZ\tyes\n")
    with pytest.raises(ArtefactError, match="was relabelled with another mapping"):
        do(corpora)
    assert do(corpora, overwrite=True).num_kept == 3


def test_a_manifest_that_was_not_mapped_is_refused(corpora: Path) -> None:
    manifest.write(corpora / "other" / "train.jsonl.gz", [clip("a")])
    with pytest.raises(ArtefactError, match="maps the signs of another manifest"):
        do(corpora)
    assert do(corpora, other_corpus=True).num_kept == 1


def test_work_that_was_cut_off_is_not_taken_for_whole(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(relabel_stage, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            do(corpora)
    assert not relabel_stage.is_relabelled(corpora / "out")
    assert do(corpora).num_kept == 2
    assert len(read_relabelled(corpora / "out").clips) == 2


def test_sentences_edited_afterwards_are_refused(corpora: Path) -> None:
    do(corpora)
    manifest.write(corpora / "out" / "train.jsonl.gz", [clip("Z")])
    with pytest.raises(ArtefactError, match="changed since it was relabelled; edit the mapping"):
        read_relabelled(corpora / "out")


def test_targets_that_the_corpus_lacks_are_named(corpora: Path) -> None:
    manifest.write(corpora / "own" / "train.jsonl.gz", [clip("Y", name="own")])
    with pytest.raises(UserError, match=r"'a' is mapped to 'X', which .*own.* doesn't have; correct the rows"):
        do(corpora, target=corpora / "own" / "train.jsonl.gz")


def test_a_folder_of_something_else_is_left_alone(corpora: Path) -> None:
    with pytest.raises(ArtefactError, match="holds a corpus that wasn't relabelled"):
        relabel_manifest(corpora / "other" / "train.jsonl.gz", corpora / "map.tsv", corpora / "own")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["other/train.jsonl.gz", "nothing.tsv", "out"], "nothing.tsv: can't be read"),
        (["nothing.jsonl.gz", "map.tsv", "out"], "nothing.jsonl.gz: no such manifest"),
        (["other/train.jsonl.gz", "other/train.jsonl.gz", "out"], "can't be read"),
        (["other/train.jsonl.gz", "map.tsv", "out", "--min-share", "1", "--stride", "16"], "of 5 sentences none stays"),
    ],
)
def test_wrong_input_ends_with_one_line(
    corpora: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    monkeypatch.chdir(corpora)
    monkeypatch.setattr("sys.argv", ["slr", "relabel", *arguments])
    assert cli.main() == 1
    message = capsys.readouterr().err.strip()
    assert text in message
    assert "\n" not in message


def test_the_command_prints_a_line_or_json(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpora)
    found = CliRunner().invoke(cli.app, ["relabel", "other/train.jsonl.gz", "map.tsv", "out", "--json"])
    assert json.loads(found.stdout)["num_kept"] == 2
    found = CliRunner().invoke(cli.app, ["relabel", "other/train.jsonl.gz", "map.tsv", "out"])
    assert found.stdout.startswith(
        "out: 2 of 5 sentences, 3 of 4 signs mapped (75.0 %) to 2 glosses; 1 under wildcards"
    )
    assert "it was there already" in found.stdout
