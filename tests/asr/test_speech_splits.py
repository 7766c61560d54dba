"""Splits that share no speaker or prompt, against a slow twin and against what they promise."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.corpora.splits import Splitter, draw, parse_sizes
from asr.corpora.ties import components, prompt_of, ties_of
from signwave.errors import UserError
from signwave.manifest import Clip

SIZES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def clip(number: int, **values: Any) -> Clip:
    return Clip(**{"id": f"c{number:04d}", "path": f"{number}.wav", "kind": "audio", **values})


def corpus(num_clips: int, num_persons: int, num_texts: int, *, seed: int = 0) -> list[Clip]:
    """Clips of persons who each read some texts; a text belongs to few persons, so parts stay small."""
    rng = random.Random(seed)
    return [
        clip(
            number,
            person=f"p{rng.randrange(num_persons)}",
            text=f"sentence {rng.randrange(num_texts)}",
            num_frames=rng.randrange(16_000, 160_000),
            rate_hz=16_000.0,
        )
        for number in range(num_clips)
    ]


def closure(ties: list[list[tuple[str, str]]]) -> set[frozenset[int]]:
    """The slow twin: grow each part until nothing more belongs to it."""
    parts = set()
    for start in range(len(ties)):
        part = {start}
        while True:
            held = {tie for item in part for tie in ties[item]}
            grown = part | {item for item, some in enumerate(ties) if held & set(some)}
            if grown == part:
                break
            part = grown
        parts.add(frozenset(part))
    return parts


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("1234567")), max_size=3), max_size=14))
def test_components_are_the_transitive_closure(ties: list[list[tuple[str, str]]]) -> None:
    assert {frozenset(part) for part in components(ties)} == closure(ties)


@pytest.mark.parametrize("by", [["speaker"], ["prompt"], ["speaker", "prompt"]])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_two_splits_share_what_was_named_and_sizes_are_met(by: list[Any], seed: int) -> None:
    clips = corpus(600, 300, 3000)
    drawn = draw(clips, by=by, sizes=SIZES, seed=seed)
    assert [c.id for c in drawn.clips] == [c.id for c in clips]
    owners: dict[Any, str] = {}
    for one in drawn.clips:
        for tie in ties_of(one, by):
            assert owners.setdefault(tie, one.split) == one.split
    for name, share in SIZES.items():
        assert drawn.facts["shares"][name] == pytest.approx(share, abs=0.02)
    assert not drawn.problems


def test_the_draw_is_seeded_and_knows_no_order() -> None:
    clips = corpus(300, 100, 3000)
    one = {c.id: c.split for c in draw(clips, by=["speaker"], sizes=SIZES, seed=3).clips}
    shuffled = random.Random(1).sample(clips, len(clips))
    assert {c.id: c.split for c in draw(shuffled, by=["speaker"], sizes=SIZES, seed=3).clips} == one
    other = {c.id: c.split for c in draw(clips, by=["speaker"], sizes=SIZES, seed=4).clips}
    assert {id_ for id_, name in one.items() if name == "test"} != {
        id_ for id_, name in other.items() if name == "test"
    }


def test_prompts_are_compared_after_the_language_s_normaliser() -> None:
    clips = [
        clip(1, text="\u0643\u062a\u0627\u0628!", language="fa"),
        clip(2, text="\u06a9\u062a\u0627\u0628", language="fa"),
    ]
    assert prompt_of(clips[0]) == prompt_of(clips[1])
    assert len(components([ties_of(c, ["prompt"]) for c in clips])) == 1
    assert len(components([ties_of(c, ["speaker"]) for c in clips])) == 2


def test_one_file_is_never_in_two_splits() -> None:
    spans = [clip(n, path="long.wav", start_seconds=float(n), end_seconds=n + 1.0, person=f"p{n}") for n in range(20)]
    copies = [clip(100 + n, person=f"q{n}", sha256="same", num_frames=16_000, rate_hz=16_000.0) for n in range(20)]
    others = [clip(200 + n, person=f"r{n}", num_frames=16_000, rate_hz=16_000.0) for n in range(60)]
    drawn = draw([*spans, *copies, *others], by=["speaker"], sizes={"train": 0.5, "test": 0.5})
    for group in ("c000", "c001", "c010", "c011"):
        assert len({c.split for c in drawn.clips if c.id.startswith(group)}) == 1


def test_clips_of_several_splits_count_once_and_one_id_for_two_clips_is_a_problem() -> None:
    clips = [clip(n, person=f"p{n}", split="validated") for n in range(20)]
    again = [replace(c, split="train") for c in clips[:5]]
    drawn = draw([*clips, *again, clip(3, path="another.wav")], by=["speaker"], sizes=SIZES)
    assert Counter(c.id for c in drawn.clips) == Counter(c.id for c in clips)
    assert [problem.kind for problem in drawn.problems] == ["duplicate_id"]
    assert set(c.split for c in drawn.clips) == set(SIZES)


def crossed(num_persons: int = 12, num_texts: int = 30) -> list[Clip]:
    """Every person reads every text: speakers and prompts together are one component."""
    return [
        clip(p * num_texts + t, person=f"p{p}", text=f"text {t}") for p in range(num_persons) for t in range(num_texts)
    ]


def test_where_everything_hangs_together_it_says_so() -> None:
    with pytest.raises(
        UserError, match=r"stays empty: 360 clips hang together in 1 parts, one of 360 clips; split by one"
    ):
        draw(crossed(), by=["speaker", "prompt"], sizes=SIZES)


def test_conflicts_are_dropped_from_the_larger_split() -> None:
    splitter = Splitter.of("speaker,prompt", "train=0.6,test=0.4", conflicts="drop")
    clips = crossed(num_texts=5) + [clip(900 + n, person=f"p{n}", text=f"own text of {n}") for n in range(12)]
    kept, problems = splitter(clips)
    drawn = splitter.drawn
    assert drawn is not None
    assert drawn.clips == kept
    sides = [{tie for c in kept if c.split == name for tie in ties_of(c, ["speaker", "prompt"])} for name in SIZES]
    assert not sides[0] & sides[2]
    assert {problem.kind for problem in problems} == {"split_conflict"}
    assert len(kept) + len(problems) == len(clips)
    dropped = set(c.id for c in clips) - {c.id for c in kept}
    test_persons = {c.person for c in kept if c.split == "test"}
    assert not any(c.person in test_persons for c in clips if c.id in dropped)
    assert drawn.facts["num_dropped"] == len(problems)


def test_clips_without_a_speaker_and_small_splits_are_warned_of() -> None:
    clips = [clip(n, person="p" if n < 96 else "") for n in range(100)]
    drawn = draw(clips, by=["speaker"], sizes={"train": 0.8, "test": 0.2})
    assert Counter(c.split for c in drawn.clips) == {"train": 96, "test": 4}
    assert any("split 'test' got 4.0% where 20.0% were asked for" in line for line in drawn.warnings)
    assert any(line.startswith("4 of 100 clips have no speaker") for line in drawn.warnings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("person",), "--split-by person: allowed are speaker and prompt"),
        (("",), "--split-by : allowed are"),
        (("speaker", "train=0.8"), "at least two splits whose shares add up to 1"),
        (("speaker", "train=0.8,test=0.1"), "whose shares add up to 1"),
        (("speaker", "train=0.8,test"), "'test' is not NAME=SHARE"),
        (("speaker", "train=1.5,test=-0.5"), "'train=1.5' is not NAME=SHARE"),
        (("speaker", "train=x,test=0.5"), "'train=x' is not NAME=SHARE"),
    ],
)
def test_options_say_what_is_allowed(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Splitter.of(*arguments)


def test_conflicts_need_two_sorts() -> None:
    with pytest.raises(UserError, match="needs two of --split-by"):
        Splitter.of("speaker", conflicts="drop")
    with pytest.raises(UserError, match="--split-conflicts keep: unknown; allowed are join, drop"):
        Splitter.of("speaker", conflicts="keep")
    assert parse_sizes("train=0.5, test=0.5") == {"train": 0.5, "test": 0.5}
