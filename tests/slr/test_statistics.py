"""Statistics of corpora: counted twice on made-up clips, and the published numbers on the real annotations."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from signwave.manifest import Clip
from signwave.prepare import Problem
from slr.corpora.statistics import Statistics, statistics, steps_needed
from slr.datasets import isharah, phoenix2014, phoenix2014_si5, phoenix2014t
from slr.datasets.annotations import Published, read_records
from slr.scoring.cleaning import clean_sentence_p14t


def _clip(number: int, text: str, *, num_frames: int | None = 100, person: str = "p", group: str = "") -> Clip:
    numbers = {"num_frames": num_frames, "rate_hz": 25.0}
    return Clip(id=f"c{number}", path="x", kind="video", text=text, person=person, group=group, **numbers)


def test_counts_against_brute_force() -> None:
    rng = random.Random(3)
    splits = {
        name: [
            _clip(
                i,
                " ".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:size], k=rng.randint(1, 6))),
                num_frames=rng.randint(4, 60),
                person=rng.choice("pqr"),
                group=rng.choice("uvwx"),
            )
            for i in range(count)
        ]
        for name, count, size in (("train", 30, 18), ("dev", 12, 26))
    }
    found = statistics(splits, stride=4)
    train, dev = splits["train"], splits["dev"]
    words = [word for clip in dev for word in clip.text.split()]
    known = [word for clip in train for word in clip.text.split()]
    split = found.splits["dev"]
    assert split.num_tokens == len(words)
    assert split.vocabulary == len(set(words))
    assert split.singletons == sum(words.count(word) == 1 for word in set(words))
    assert split.oov_tokens == sum(word not in known for word in words)
    assert split.oov_types == len(set(words) - set(known))
    assert split.oov_tokens > 0
    assert split.sequences_in_train == sum(any(clip.text == other.text for other in train) for clip in dev)
    assert split.groups_in_train == len({c.group for c in dev} & {c.group for c in train})
    assert split.num_frames == sum(clip.num_frames or 0 for clip in dev)
    assert split.hours == pytest.approx(split.num_frames / 25 / 3600)
    assert split.longest_tokens == max(len(clip.text.split()) for clip in dev)
    too_short = set()
    for clip in dev:
        label = clip.text.split()
        steps = len(range(0, clip.num_frames or 0, 4))
        if len(label) + sum(a == b for a, b in itertools.pairwise(label)) > steps:
            too_short.add(clip.id)
    assert {clip.id for clip in split.too_short} == too_short
    assert found.splits["train"].oov_tokens is None


def test_a_clip_too_short_for_its_label_is_named() -> None:
    clips = [_clip(0, "A A B", num_frames=12), _clip(1, "A A B", num_frames=13), _clip(2, "A A B", num_frames=None)]
    found = statistics({"train": clips})
    assert [clip._asdict() for clip in found.splits["train"].too_short] == [
        {"id": "c0", "num_frames": 12, "num_steps": 3, "num_needed": 4}
    ]
    (warning,) = found.warnings()
    assert warning.startswith("train: label_too_long: 1 clip is too short for the label at stride 4; kept")
    assert "c0: 12 frames are 3 steps, needs 4" in warning
    many = statistics({"train": [_clip(i, "A B", num_frames=4) for i in range(5)]}).warnings()
    assert "5 clips are" in many[0]
    assert many[0].endswith("; and 2 more)")
    assert steps_needed([]) == 0
    with pytest.raises(ValueError, match="stride must be at least 1"):
        statistics({}, stride=0)


def test_warnings_where_counts_are_not_the_published_ones() -> None:
    found = statistics({"train": [_clip(0, "A B"), _clip(1, "A")]})
    good = Published(clips=2, frames=200, glosses=3, vocabulary=2, singletons=1)
    assert found.warnings({"train": good}) == []
    assert found.warnings({"train": Published(clips=3, glosses=4), "dev": Published(clips=1)}) == [
        "train: 2 clips, but 3 are published",
        "train: 3 glosses, but 4 are published",
        "dev: no clip, but 1 are published",
    ]


def test_table_and_plain_values() -> None:
    found = statistics({"train": [_clip(0, "A B", group="g")], "dev": [_clip(1, "C")]})
    lines = found.table().splitlines()
    assert lines[0].split() == ["train", "dev"]
    assert any(line.split() == ["glosses", "not", "in", "train", "1"] for line in lines)
    assert len({len(line) for line in lines if line.rstrip().endswith("1")}) == 1, "columns end at one place"
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["splits"]["dev"]["oov_tokens"] == 1
    assert statistics({}).table() == ""


def _phoenix(module: object, annotations: Path, tmp_path: Path) -> dict[str, list[Clip]]:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "manual").symlink_to(annotations)
    splits: dict[str, list[Clip]] = {}
    for row in module.prepare(tmp_path):  # type: ignore[attr-defined]
        assert not isinstance(row, Problem), row
        splits.setdefault(row.clip.split, []).append(row.clip)
    return splits


def _column(found: Statistics, name: str) -> list[object]:
    return [getattr(found.splits[split], name) for split in ("train", "dev", "test")]


def test_published_numbers_of_phoenix2014(shared_data: Path, tmp_path: Path) -> None:
    splits = _phoenix(phoenix2014, shared_data / "sign/phoenix2014", tmp_path)
    found = statistics(splits)
    assert found.warnings(phoenix2014.PUBLISHED) == []
    assert _column(found, "num_clips") == [5672, 540, 629]
    assert _column(found, "num_tokens") == [65_227, 5540, 6504]
    assert (found.splits["train"].vocabulary, found.splits["train"].singletons) == (1231, 410)
    assert _column(found, "oov_tokens") == [None, 38, 45]
    assert _column(found, "num_persons") == [9, 9, 9]
    assert found.splits["train"].longest_tokens == 28
    assert _column(found, "num_groups") == [643, 371, 397]
    assert _column(found, "groups_in_train") == [None, 371, 397]
    persons = Counter(clip.person for split in splits.values() for clip in split)
    assert min(Counter(clip.person for clip in splits["train"]).values()) == 30
    assert max(Counter(clip.person for clip in splits["train"]).values()) == 1475
    assert len(persons) == 9


def test_labels_of_phoenix2014_that_training_has_too(shared_data: Path, tmp_path: Path) -> None:
    splits = _phoenix(phoenix2014, shared_data / "sign/phoenix2014", tmp_path)
    assert _column(statistics(splits), "sequences_in_train") == [None, 2, 3]
    cleaned = {
        name: [_clip(i, clean_sentence_p14t(clip.text)) for i, clip in enumerate(clips)]
        for name, clips in splits.items()
    }
    assert _column(statistics(cleaned), "sequences_in_train") == [None, 5, 3], "with notes and repeats taken out"


def test_signer_independent_counts_follow_from_the_multisigner_tables(shared_data: Path, tmp_path: Path) -> None:
    splits = _phoenix(phoenix2014, shared_data / "sign/phoenix2014", tmp_path)
    others = [clip for clip in splits["train"] if clip.person != "Signer05"]
    held = {name: [clip for clip in splits[name] if clip.person == "Signer05"] for name in ("dev", "test")}
    found = statistics({"train": others, **held})
    assert found.warnings(phoenix2014_si5.PUBLISHED) == []
    glosses = {gloss for clips in (others, *held.values()) for clip in clips for gloss in clip.text.split()}
    assert len(glosses) == 1135, "1134 in the literature, which leaves out the clip of 16 frames"
    assert _column(found, "oov_tokens") == [None, 10, 12]
    assert _column(found, "persons_in_train") == [None, 0, 0]


def test_the_training_clip_of_16_frames(shared_data: Path, tmp_path: Path) -> None:
    splits = _phoenix(phoenix2014, shared_data / "sign/phoenix2014", tmp_path)
    (clip,) = [clip for clip in splits["train"] if clip.id == "13April_2011_Wednesday_tagesschau_default-14"]
    label = clip.text.split()
    assert splits["train"][2390] is clip, "the row that VAC drops"
    found = statistics({"train": [_clip(0, " ".join(label), num_frames=16)]})
    assert found.splits["train"].too_short[0].num_steps == 4
    assert found.splits["train"].too_short[0].num_needed == len(label) + 1


def test_published_numbers_of_phoenix2014t(shared_data: Path, tmp_path: Path) -> None:
    splits = _phoenix(phoenix2014t, shared_data / "sign/phoenix2014T", tmp_path)
    found = statistics(splits)
    assert found.warnings(phoenix2014t.PUBLISHED) == []
    assert _column(found, "num_clips") == [7096, 519, 642]
    assert _column(found, "num_tokens") == [55_247, 3748, 4264]
    assert (found.splits["train"].vocabulary, found.splits["train"].singletons) == (1085, 355)
    assert _column(found, "oov_tokens") == [None, 14, 19]
    assert _column(found, "sequences_in_train") == [None, 24, 30]
    assert _column(found, "num_persons") == [9, 9, 9]
    assert found.splits["train"].longest_tokens == 30
    assert _column(found, "num_groups") == [643, 315, 331]
    assert _column(found, "groups_in_train") == [None, 315, 331]
    assert all(clip.captions["de"] for clips in splits.values() for clip in clips)


@pytest.mark.parametrize(
    ("task", "seen", "oov", "vocabulary"), [("SI", 932, 3, 680), ("US", 0, 121, None)], ids=["SI", "US"]
)
def test_published_numbers_of_isharah(
    shared_data: Path, task: str, seen: int, oov: int, vocabulary: int | None
) -> None:
    splits = {}
    for split in ("train", "dev"):
        records = read_records(shared_data / f"sign/isharah/annotations_v2/{task}/{split}.txt", columns=("id", "gloss"))
        rows = [record for record in records if not isinstance(record, Problem)]
        splits[split] = [_clip(i, row.values["gloss"]) for i, row in enumerate(rows)]
    found = statistics(splits)
    assert found.warnings(isharah.PUBLISHED_BY_TASK[task]) == []
    assert (found.splits["dev"].sequences_in_train, found.splits["dev"].oov_tokens) == (seen, oov)
    if vocabulary is not None:
        assert found.splits["train"].vocabulary == vocabulary
