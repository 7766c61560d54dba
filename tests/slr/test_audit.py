"""Leaks between sets of clips: the measured overlap of the Phoenix corpora, and small cases by hand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from signwave.errors import UserError
from signwave.manifest import Clip, read, write
from slr.corpora.audit import audit, without_marks, write_without

MONDAY, TUESDAY = "01April_2010_Thursday_heute{}", "02April_2010_Friday_heute{}"


def table(path: Path, rows: dict[str, str]) -> Path:
    path.write_text("".join(f"{clip}|{text}\n" for clip, text in rows.items()))
    return path


def phoenix(shared_data: Path, corpus: str, split: str) -> Path:
    prefix = {"p14": "phoenix2014/", "p14t": "phoenix2014T/PHOENIX-2014-T."}[corpus]
    return shared_data / "sign" / f"{prefix}{split}.corpus.csv"


@pytest.mark.parametrize(
    ("a", "split", "b", "per_cent", "num_full", "num_half"),
    [
        ("p14", "dev", "p14t", 15.1, 51, 32),
        ("p14", "test", "p14t", 12.9, 54, 31),
        ("p14t", "dev", "p14", 0.1, 0, 0),
        ("p14t", "test", "p14", 0.2, 0, 1),
    ],
)
def test_overlap_of_the_phoenix_corpora(a, split, b, per_cent, num_full, num_half, shared_data):
    found = audit(phoenix(shared_data, a, split), phoenix(shared_data, b, "train"))
    assert round(100 * found.a_in_b.share, 1) == per_cent
    assert (found.a_in_b.num_full, found.a_in_b.num_half) == (num_full, num_half)
    assert found.a_in_b.control_share is not None
    assert found.a_in_b.control_share < 0.005
    assert len(found.shared_persons) == 9


@pytest.mark.parametrize(
    ("corpus", "verbatim", "groups"), [("p14", (5, 3), (371, 397)), ("p14t", (24, 30), (315, 331))]
)
def test_sentences_and_broadcasts_that_training_has_too(corpus, verbatim, groups, shared_data):
    for split, num_verbatim, num_groups in zip(("dev", "test"), verbatim, groups, strict=True):
        found = audit(phoenix(shared_data, corpus, split), phoenix(shared_data, corpus, "train"))
        assert (len(found.a_in_b.verbatim), found.num_shared_groups) == (num_verbatim, num_groups)
        assert 0.0005 < found.a_in_b.share < 0.005


def brute_force(a: dict[str, list[str]], b: dict[str, list[str]], min_run: int) -> dict[str, int]:
    """Longest common run of each clip, by trying every pair of places."""
    found = {}
    for clip, left in a.items():
        best = 0
        for right in b.values():
            for i in range(len(left)):
                for j in range(len(right)):
                    length = 0
                    while i + length < len(left) and j + length < len(right) and left[i + length] == right[j + length]:
                        length += 1
                    best = max(best, length)
        if best >= min_run:
            found[clip] = best
    return found


@pytest.mark.parametrize("min_run", [1, 3, 4])
def test_longest_runs_are_those_of_brute_force(min_run, tmp_path):
    rng = random.Random(min_run)
    sides = [{f"{side}{n}": rng.choices("ABCD", k=rng.randint(1, 9)) for n in range(12)} for side in "ab"]
    paths = [
        table(tmp_path / f"{n}.txt", {clip: " ".join(tokens) for clip, tokens in side.items()})
        for n, side in enumerate(sides)
    ]
    found = audit(*paths, min_run=min_run)
    assert {o.id: o.num_run for o in found.a_in_b.overlaps} == brute_force(*sides, min_run)
    assert found.a_in_b.control_share is None
    assert "anywhere (no broadcasts or groups are known) (no control)" in found.summary()


def test_runs_count_within_a_broadcast_only(tmp_path):
    text = "REGEN NORD SONNE SUED WIND"
    a = table(tmp_path / "a.csv", {MONDAY.format("_default-1"): "__ON__ " + text, MONDAY.format("_default-2"): text})
    same = table(tmp_path / "same.csv", {MONDAY.format("-77"): "KALT loc-REGEN NORD SONNE-PLUSPLUS SUED"})
    other = table(tmp_path / "other.csv", {TUESDAY.format("-77"): text})
    found = audit(a, same).a_in_b
    assert [(o.num_run, o.num_tokens) for o in found.overlaps] == [(4, 5), (4, 5)]
    assert (found.num_full, found.num_half, found.share) == (0, 2, 0.8)
    assert not audit(a, same, marks="keep").a_in_b.overlaps
    across = audit(a, other).a_in_b
    assert not across.overlaps
    assert len(across.verbatim) == 2


def test_marks_come_off_and_words_stay():
    assert without_marks(["__ON__", "loc-", "poss-loc-SUED", "IN-KOMMEND", "A+B"]) == ["SUED", "IN-KOMMEND", "A+B"]


def clip(number: int, text: str, **values: str) -> Clip:
    return Clip(id=f"c{number}", path=values.pop("path", f"{number}.mp4"), kind="video", text=text, **values)


def test_media_persons_and_ids_in_common(tmp_path):
    write(tmp_path / "a.jsonl", [clip(1, "A", person="P", path="x.mp4"), clip(2, "B", sha256="f" * 64), clip(3, "C")])
    write(tmp_path / "b.jsonl", [clip(1, "D", person="P", path="x.mp4"), clip(9, "E", sha256="f" * 64)])
    found = audit(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert found.shared_persons == ("P",)
    assert found.shared_ids == ("c1",)
    assert found.a_in_b.same_media == ("c1", "c2")
    assert found.a_in_b.offending == ("c1", "c2")


def test_dropping_leaves_a_clean_manifest(tmp_path):
    long = "A B C D E"
    write(tmp_path / "train.jsonl", [clip(1, long, group="g"), clip(2, long, group="h"), clip(3, "A B", group="g")])
    write(tmp_path / "test.jsonl", [clip(7, f"X {long}", group="g", path="7.mp4")])
    found = audit(tmp_path / "train.jsonl", tmp_path / "test.jsonl")
    assert write_without(tmp_path / "train.jsonl", tmp_path / "clean.jsonl.gz", found.a_in_b.offending) == 1
    assert [one.id for one in read(tmp_path / "clean.jsonl.gz")] == ["c2", "c3"]
    assert not audit(tmp_path / "clean.jsonl.gz", tmp_path / "test.jsonl").a_in_b.offending
    with pytest.raises(UserError, match="is the manifest that is read"):
        write_without(tmp_path / "train.jsonl", tmp_path / "train.jsonl", [])


def test_wrong_options_are_named(tmp_path):
    path = table(tmp_path / "a.txt", {"a": "A"})
    with pytest.raises(UserError, match="--marks off: unknown; allowed are auto"):
        audit(path, path, marks="off")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--min-run 0"):
        audit(path, path, min_run=0)
