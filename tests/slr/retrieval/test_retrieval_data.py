"""The fingerspelled concepts: the table, what is held out, and clips that come out the same every time."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from signwave.errors import UserError
from signwave.manifest import read
from signwave.sampling import Draw
from slr.datasets.fingerspelled_concepts import (
    LANGUAGES,
    QUERY_NORMALISER,
    TEST_SPLITS,
    Concept,
    FingerspelledConceptsConfig,
    Performance,
    concepts,
    spell_concept,
    split_performances,
)
from slr.datasets.fingerspelling import Letter
from slr.datasets.performances import Gallery, Speller, write_gallery
from slr.keypoints.hands import read_hands

needs_recordings = pytest.mark.skipif(
    importlib.util.find_spec("spoken_to_signed") is None, reason="needs pip install 'signwave[signdata]'"
)


def letter(alphabet: str, label: str, seed: int, num_frames: int = 12) -> Letter:
    hands = np.random.default_rng(seed).normal(size=(num_frames, 42, 3)).astype(np.float32)
    return Letter(alphabet, label, f"{alphabet}/{label}", hands, 2, num_frames - 1)


def alphabet(name: str, labels: str) -> dict[str, Letter]:
    return {label: letter(name, label, seed) for seed, label in enumerate(labels)}


def test_no_word_stands_for_two_concepts() -> None:
    table = concepts()
    assert len(table) > 500
    owner: dict[str, str] = {}
    for concept in table:
        assert set(concept.words) == set(LANGUAGES)
        for word in concept.words.values():
            assert owner.setdefault(QUERY_NORMALISER(word), concept.name) == concept.name


def test_words_are_spelled_as_people_write_them_without_the_letter() -> None:
    plain, german = alphabet("ase", "BAERSTO"), alphabet("gsg", "BÄRẞTO")
    assert [part.label for part in spell_concept("Bär", plain) or ()] == list("BAER")
    assert [part.label for part in spell_concept("Bär", german) or ()] == list("BÄR")
    assert [part.label for part in spell_concept("boß", plain) or ()] == list("BOSS")
    assert spell_concept("zoo", plain) is None
    assert [part.label for part in spell_concept("قطة", alphabet("jos", "قطه")) or ()] == list("قطه")


def made_up_splits() -> dict[str, list[Performance]]:
    config = FingerspelledConceptsConfig(
        train_alphabets=("aaa", "bbb", "ccc", "ddd"), unseen_alphabets=("xxx", "yyy"), num_open_concepts=3,
        num_held_alphabets=2,
    )  # fmt: skip
    table = [Concept(f"w{a}{b}", {"en": a + b, "de": b + a + a, "ar": "قط"}) for a in "abcd" for b in "efgh"]
    alphabets = {name: alphabet(name, "ABCDEFGH") for name in ("aaa", "bbb", "ccc", "ddd", "xxx", "yyy")}
    return dict(split_performances(config, table, {**alphabets, "jos": alphabet("jos", "قط")}))  # type: ignore[arg-type]


def check_splits(splits: dict[str, list[Performance]], unseen: set[str]) -> None:
    trained = {(p.concept, p.alphabet) for p in splits["train"]}
    known = {p.concept for p in splits["train"]}
    recordings = {part.path for p in splits["train"] for part in p.letters}
    for performance in splits["held_performances"]:
        assert (performance.concept, performance.alphabet) not in trained
        assert performance.concept in known
    for performance in splits["unseen_alphabet"]:
        assert performance.alphabet in unseen
        assert performance.concept in known
        assert not recordings & {part.path for part in performance.letters}
    assert not known & {p.concept for p in splits["open_vocabulary"]}
    for name in TEST_SPLITS:
        assert len({p.id for p in splits[name]}) == len(splits[name]) > 0


def test_what_is_held_out_is_held_out() -> None:
    check_splits(made_up_splits(), {"xxx", "yyy"})


@needs_recordings
def test_what_is_held_out_is_held_out_in_the_recordings() -> None:
    config = FingerspelledConceptsConfig(max_concepts=80, num_open_concepts=10)
    splits = dict(config.performances())
    check_splits(splits, set(config.unseen_alphabets))  # type: ignore[arg-type]
    assert {p.language for p in splits["held_performances"]} == set(LANGUAGES)
    again = config.performances()
    assert [p.id for p in again["held_performances"]] == [p.id for p in splits["held_performances"]]


def test_a_word_passes_through_its_letters() -> None:
    (first, *_) = made_up_splits()["train"]
    spelled = Speller([first], rate_hz=25.0).spell(first, np.random.default_rng(0))
    assert len(spelled.spans) == len(first.letters)
    for part, (start, stop) in zip(first.letters, spelled.spans, strict=True):
        recorded = part.hands[part.start : part.stop]
        for place in (start, stop - 1):
            assert np.abs(recorded - spelled.hands[place]).max(axis=(1, 2)).min() < 1e-5
    assert spelled.spans[-1][1] == len(spelled.hands)


def test_training_items_depend_on_nothing_but_their_seed() -> None:
    splits = made_up_splits()
    from slr.datasets.fingerspelled_concepts import QUERY_NORMALISER
    from slr.datasets.performances import ConceptBatches
    from slr.keypoints.hand_transforms import Augmentation
    from slr.retrieval.text_config import character_vocabulary
    from slr.retrieval.texts import Characters

    rows = sorted({p.concept for p in splits["train"]})
    train = ConceptBatches(
        splits["train"],
        captions={row: {"en": f"ab{row}", "de": f"ba{row}"} for row in rows},
        texts=Characters(QUERY_NORMALISER, character_vocabulary(["ab"], QUERY_NORMALISER)),
        rate_hz=12.5,
        num_performances=3,
        num_passes=2,
        augmentation=Augmentation(),
    )
    assert len(train) == 2 * len(rows) == len(train.lengths)
    first, second, other = train[Draw(1, 5)], train[Draw(1, 5)], train[Draw(1, 6)]
    assert [clip.id for clip in first.clips] == [clip.id for clip in second.clips]
    np.testing.assert_array_equal(first.clips[0].inputs, second.clips[0].inputs)
    same_length = len(other.clips[0].inputs) == len(first.clips[0].inputs)
    assert not same_length or (other.clips[0].inputs != first.clips[0].inputs).any()
    batch = train.collate([first, train[Draw(0, 1)]])
    batch.check()
    assert batch.positive.sum().item() == 2 * 3 * 2


def test_written_gallery_is_what_the_test_sees(tmp_path: Path) -> None:
    pytest.importorskip("pose_format")
    performances = made_up_splits()["unseen_alphabet"][:3]
    table = [Concept(str(n), {"en": f"e{n}", "de": f"d{n}", "ar": f"a{n}"}) for n in range(16)]
    manifest = write_gallery(tmp_path, performances, table, rate_hz=12.5, split="unseen_alphabet")
    gallery = Gallery({"unseen_alphabet": performances}, rate_hz=12.5)
    for index, clip in enumerate(read(manifest)):
        expected = gallery[Draw(index, 0)]
        assert clip.id == performances[index].id
        assert clip.group == str(performances[index].concept)
        assert clip.captions["de"] == f"d{clip.group}"
        hands = read_hands(clip.path, rate_hz=12.5)
        np.testing.assert_allclose(hands[..., :2], expected.clips[0].inputs.reshape(-1, 42, 3)[..., :2], atol=1e-3)
        assert len(hands) == clip.num_frames


def test_settings_that_make_no_sense_are_named() -> None:
    with pytest.raises(ValueError, match="gsg is in both lists"):
        FingerspelledConceptsConfig(unseen_alphabets=("gsg",), train_alphabets=("gsg", "ase", "asq", "sgg"))
    with pytest.raises(ValueError, match="num_held_alphabets"):
        FingerspelledConceptsConfig(train_alphabets=("ase", "asq"))
    config = FingerspelledConceptsConfig(max_concepts=5, num_open_concepts=5)
    with pytest.raises(UserError, match="num_open_concepts is 5 of 5 concepts"):
        split_performances(config, config.table(), {})
