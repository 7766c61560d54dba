"""What is trained on and what is held back: by clip of origin, or as a corpus says."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from signwave import manifest
from signwave.errors import ConfigError, UserError
from signwave.manifest import Clip
from slr.crosslingual.segments import BLANK_GLOSS
from slr.crosslingual.signs import Sign, Signs, Splits, load_signs, load_splits
from slr.isolated.bags import Dictionary
from slr.isolated.recipe import DictionariesConfig
from slr.isolated.splitting import BY_ORIGIN, OFFICIAL, split


def _sign(number: int, gloss: str, **values: str) -> Sign:
    return Sign(Clip(id=f"c{number}", path=f"{number}.mp4", kind="video", num_frames=9, rate_hz=25.0, **values), gloss)  # type: ignore[arg-type]


def _signs(signs: list[Sign]) -> Signs:
    return Signs("made", signs, "0" * 64, "made.jsonl")


def _names(dictionary: Dictionary) -> set[str]:
    return {sign.origin for sign in dictionary.signs}


def test_no_clip_and_no_group_lies_on_two_sides() -> None:
    clips = [
        Clip(id=f"c{n}", path="x", kind="video", num_frames=90, rate_hz=25.0, group=f"g{n // 3}") for n in range(300)
    ]
    signs = [
        Sign(clip, gloss, start, start + 0.4) for clip in clips for start, gloss in enumerate(("A", "B", BLANK_GLOSS))
    ]
    parts = split(Splits(_signs(signs)), DictionariesConfig(dev_share=0.2, test_share=0.3), seed=3)
    assert sum(len(part.signs) for part in parts) == len(signs)
    groups = [{sign.clip.group for sign in part.signs} for part in parts]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    shares = [len(part.signs) / len(signs) for part in parts]
    assert shares == pytest.approx([0.7 * 0.8, 0.7 * 0.2, 0.3], abs=0.1)
    assert [part.split for part in parts[1:]] == [BY_ORIGIN, BY_ORIGIN]
    assert parts[0].glosses == (BLANK_GLOSS, "A", "B")
    assert set(parts[0].labels) == {0, 1, 2}
    # Further clips move none of these.
    more = [
        *signs,
        *(Sign(Clip(id=f"n{n}", path="x", kind="video", num_frames=9, rate_hz=25.0), "A") for n in range(50)),
    ]
    again = split(Splits(_signs(more)), DictionariesConfig(dev_share=0.2, test_share=0.3), seed=3)
    for before, after in zip(parts, again, strict=True):
        assert _names(before) == {name for name in _names(after) if name.startswith("c")}
    other = split(Splits(_signs(signs)), DictionariesConfig(dev_share=0.2, test_share=0.3), seed=4)
    assert _names(other[2]) != _names(parts[2])


def test_official_splits_are_kept() -> None:
    train = [_sign(number, "AB"[number % 2]) for number in range(40)]
    dev, test = [_sign(100, "A"), _sign(101, "NEW")], [_sign(200, "B")]
    parts = split(Splits(_signs(train), _signs(dev), _signs(test)), DictionariesConfig(), seed=0)
    assert _names(parts[0]) == {sign.origin for sign in train}
    assert [part.split for part in parts[1:]] == [OFFICIAL, OFFICIAL]
    assert (_names(parts[1]), parts[1].num_unknown) == ({"c100"}, 1), "a gloss of dev alone is no class, and counted"
    assert parts[1].labels == [1]
    assert (_names(parts[2]), parts[2].labels, parts[2].num_unknown) == ({"c200"}, [2], 0)


def test_a_split_that_a_corpus_lacks_is_cut_from_its_training_clips() -> None:
    train = [_sign(number, "AB"[number % 2]) for number in range(200)]
    parts = split(Splits(_signs(train), None, _signs([_sign(500, "A")])), DictionariesConfig(dev_share=0.2), seed=0)
    assert [part.split for part in parts[1:]] == [BY_ORIGIN, OFFICIAL]
    assert _names(parts[2]) == {"c500"}
    assert len(parts[0].signs) + len(parts[1].signs) == 200
    assert 20 < len(parts[1].signs) < 60
    whole = split(Splits(_signs(train)), DictionariesConfig(dev_share=0.0, test_share=0.0), seed=0)
    assert [len(part.signs) for part in whole] == [200, 0, 0]


def test_an_official_split_of_clips_that_are_trained_on_is_told(caplog: pytest.LogCaptureFixture) -> None:
    train = [_sign(0, "A", group="video1"), _sign(1, "A"), _sign(2, "B")]
    test = [_sign(10, "A", group="video1"), Sign(train[1].clip, "A"), _sign(2, "B")._replace(clip=_sign(3, "B").clip)]
    with caplog.at_level(logging.WARNING):
        split(Splits(_signs(train), None, _signs(test)), DictionariesConfig(dev_share=0.0), seed=0)
    (record,) = caplog.records
    assert (
        record.getMessage() == "made: 2 of 3 signs of its own test split are of clips or groups that are trained on too"
    )


def test_rare_glosses_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    train = [_sign(number, gloss) for number, gloss in enumerate(["A"] * 5 + ["B"] * 2 + ["C"] * 5)]
    splits = Splits(_signs(train), _signs([_sign(100, "B"), _sign(101, "A")]), _signs([_sign(200, "C")]))
    with caplog.at_level(logging.WARNING):
        parts = split(splits, DictionariesConfig(min_instances=3), seed=0)
    assert caplog.messages == ["made: 1 glosses with fewer than 3 signs left out"]
    assert parts[0].glosses == (BLANK_GLOSS, "A", "C")
    assert [len(part.signs) for part in parts] == [10, 1, 1]
    assert [part.num_unknown for part in parts] == [2, 1, 0]
    with pytest.raises(UserError, match=r"made\.jsonl: no gloss has 6 training signs; lower data\.min_instances"):
        split(splits, DictionariesConfig(min_instances=6), seed=0)
    only_blanks = Splits(_signs([_sign(0, BLANK_GLOSS)]))
    with pytest.raises(UserError, match="no gloss has 1 training signs"):
        split(only_blanks, DictionariesConfig(dev_share=0.0, test_share=0.0), seed=0)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.balance=even: allowed are square_root, class and natural"):
        DictionariesConfig(balance="even")
    with pytest.raises(ConfigError, match="must be at least 1"):
        DictionariesConfig(num_bags=0)
    with pytest.raises(ConfigError, match=r"must be in \[0, 1\): 1\.0"):
        DictionariesConfig(dev_share=1.0)
    with pytest.raises(UserError, match=r"data\.languages is empty; give a table, a manifest or a folder"):
        DictionariesConfig().load()


def test_languages_are_loaded_from_folders_and_files(tmp_path: Path) -> None:
    for name, gloss in (("train", "A"), ("val", "A"), ("test", "B")):
        clip = Clip(id=name, path=f"{name}.mp4", kind="video", text=gloss, language="ase", num_frames=9, rate_hz=25.0)
        manifest.write(tmp_path / "wlasl" / f"{name}.jsonl.gz", [clip])
    config = DictionariesConfig(
        languages={"x": str(tmp_path / "wlasl"), "y": str(tmp_path / "wlasl" / "test.jsonl.gz")}
    )
    folder, single = config.load()
    assert folder.dev is not None
    assert folder.test is not None
    assert [(one.name, [sign.origin for sign in one.signs]) for one in (folder.train, folder.dev, folder.test)] == [
        ("x", ["train"]), ("x", ["val"]), ("x", ["test"]),
    ]  # fmt: skip
    assert (single.train.name, single.dev, single.test) == ("y", None, None)
    # What the bundle remembers is a file that gives the same signs again.
    again = load_signs(folder.train.source, name="x")
    assert (again.signs, again.sha256) == (folder.train.signs, folder.train.sha256)
    assert load_splits(tmp_path / "wlasl").train.name == "ase"
