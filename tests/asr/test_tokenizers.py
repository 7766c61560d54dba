"""Tokenizers: cuts against twins and SentencePiece, joints that no piece reaches over, round trips, damaged files."""

import itertools
import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.text import for_language
from asr.tokenizers import PAPER, Recipe, Tokenizer, train
from asr.tokenizers.joints import ZWNJ, AffixJoints, affixes
from asr.tokenizers.pieces import PieceModel
from asr.tokenizers.training import VocabularySizeError, learn_pieces
from signwave.errors import ArtefactError, LabelError, UserError
from signwave.text import SPACE_TOKEN, WORD_START

TEXTS = [
    "می‌روم و کتاب‌هایش را می‌خوانم", "کتاب‌ها را می‌خوانند", "کتاب خوب است", "او کتاب را خواند و رفت",
    "خانه‌های بزرگ را دیدم", "خانه‌اش بزرگ‌تر است", "این خانه بزرگ است", "می‌رویم و می‌بینیم", "نمی‌روند",
    "بزرگ‌ترین شهر را دیدند", "شهرها و خانه‌ها", "شهر ما خوب است", "می‌خواهند بروند", "دوستش آمد", "دوست من آمد",
]  # fmt: skip
SCORES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), st.integers(-9, -1).map(float), min_size=1, max_size=12
)


def every_cut(word: str) -> list[list[str]]:
    cuts = []
    for mask in itertools.product([False, True], repeat=max(len(word) - 1, 0)):
        parts, start = [], 0
        for place, is_cut in enumerate(mask, 1):
            if is_cut:
                parts.append(word[start:place])
                start = place
        cuts.append([*parts, word[start:]])
    return cuts


def value(cut: list[str], scores: dict[str, float]) -> float:
    """Sum of scores; a letter that is no piece costs ten more than the worst piece."""
    unknown = min(scores.values()) - 10
    return sum(scores.get(part, unknown if len(part) == 1 else -math.inf) for part in cut)


@given(scores=SCORES, word=st.text("abcx", min_size=1, max_size=7))
@settings(max_examples=200)
def test_the_likeliest_cut_is_the_best_of_all(scores: dict[str, float], word: str) -> None:
    cut = PieceModel("unigram", scores).cut(word)
    assert "".join(cut) == word
    assert value(cut, scores) == max(value(one, scores) for one in every_cut(word))


def test_drawn_cuts_are_as_frequent_as_they_are_likely() -> None:
    scores = {"a": -2.0, "b": -2.5, "ab": -3.0, "ba": -3.5, "aba": -4.5}
    strength = 0.7
    cuts = [cut for cut in every_cut("aba") if value(cut, scores) > -math.inf]
    weights = {tuple(cut): math.exp(strength * value(cut, scores)) for cut in cuts}
    rng = np.random.default_rng(0)
    model = PieceModel("unigram", scores)
    drawn = Counter(tuple(model.draw("aba", rng, strength=strength)) for _ in range(4000))
    assert set(drawn) == set(weights)
    for cut, weight in weights.items():
        assert drawn[cut] / 4000 == pytest.approx(weight / sum(weights.values()), abs=0.03)


def test_merges_go_by_score_and_can_be_passed_over() -> None:
    model = PieceModel("bpe", {"bc": -0.0, "ab": -1.0, "abc": -2.0, "cd": -3.0})
    assert model.cut("abcd") == ["abc", "d"] or model.cut("abcd") == ["a", "bc", "d"]
    assert model.cut("abcd") == ["abc", "d"]  # bc first, then a + bc
    assert model.cut("abab") == ["ab", "ab"]
    rng = np.random.default_rng(0)
    drawn = {tuple(model.draw("abcd", rng, strength=0.5)) for _ in range(200)}
    assert ("a", "b", "c", "d") in drawn
    assert ("abc", "d") in drawn
    assert all("".join(cut) == "abcd" for cut in drawn)
    assert model.draw("abcd", rng, strength=0.0) == ["abc", "d"]


@pytest.mark.parametrize("method", ["bpe", "unigram"])
def test_cuts_are_sentencepieces(method: Any, tmp_path: Path) -> None:
    """Our cutting of its pieces gives what its own cutting gives."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    words = sorted({word for text in TEXTS for word in text.split()})
    (tmp_path / "words.txt").write_text("\n".join(words))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "words.txt"), model_prefix=str(tmp_path / "m"), model_type=method, vocab_size=60,
        character_coverage=1.0, normalization_rule_name="identity", add_dummy_prefix=False, minloglevel=3,
        hard_vocab_limit=False,
    )  # fmt: skip
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    scores = {theirs.id_to_piece(i): theirs.get_score(i) for i in range(3, theirs.get_piece_size())}
    ours = PieceModel(method, scores)
    for word in [*words, "کتابخانه", "شهرهایمان"]:
        assert ours.cut(word) == theirs.encode(word, out_type=str), word


@pytest.fixture(
    scope="module", params=["characters", "paper-bpe", "bpe", "unigram", "affixes", "affixes-bpe", "morfessor"]
)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param != "characters":
        pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    if request.param == "morfessor":
        pytest.importorskip("morfessor", reason="Morfessor is not installed")
    recipe = {
        "affixes": Recipe("morphology", 60),
        "affixes-bpe": Recipe("morphology", 60, method="bpe"),
        "morfessor": Recipe("morphology", 60, joints="morfessor"),
    }.get(request.param) or Recipe(request.param, 60)
    return train(TEXTS, recipe, language="fa")


def test_what_is_cut_is_joined_again(tokenizer: Tokenizer) -> None:
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == tokenizer.normaliser(text)
        assert min(ids) > 0
        assert max(ids) < tokenizer.size
        assert tokenizer.unknown(text) == []
        words = [word for word, _ in tokenizer.words_and_tokens(text)]
        assert " ".join(words) == tokenizer.normaliser(text)


def test_random_cuts_say_the_same(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    text = TEXTS[0]
    drawn = {tuple(tokenizer.encode(text, rng)) for _ in range(20)}
    assert {tokenizer.decode(ids) for ids in drawn} == {tokenizer.normaliser(text)}
    assert (len(drawn) == 1) == (tokenizer.kind == "characters")
    again = np.random.default_rng(0)
    assert [tokenizer.tokens(text, again) for _ in range(3)] == [
        tokenizer.tokens(text, rng) for rng in [np.random.default_rng(0)] for _ in range(3)
    ]


def test_unknown_characters_are_no_silent_labels(tokenizer: Tokenizer) -> None:
    with pytest.raises(LabelError, match="'ژ' not among"):
        tokenizer.encode("کتاب ژرف")
    assert "ژ" in tokenizer.unknown("کتاب ژرف")


def test_it_is_a_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tokenizer.save(tmp_path / "run" / "bundle")
    for place in (path, tmp_path / "run", tmp_path / "run" / "bundle"):
        loaded = Tokenizer.load(place)
        assert loaded == tokenizer
        assert loaded.digest == tokenizer.digest
        assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    content = json.loads(path.read_text())
    damages: list[dict[str, Any]] = [
        {"kind": "bytes"}, {"format_version": 2}, {"vocabulary": {"unit": "piece", "tokens": ["<blank>"]}},
        {"pieces": {"method": "wordpiece", "scores": {}}}, {"joints": {"kind": "guess"}}, {"normaliser": {}},
    ]  # fmt: skip
    for damage in damages:
        path.write_text(json.dumps({**content, **damage}))
        with pytest.raises(ArtefactError, match=r"tokenizer.json: not a tokenizer"):
            Tokenizer.load(path)
    with pytest.raises(ArtefactError, match=r"no tokenizer.json there; make one with"):
        Tokenizer.load(tmp_path)


def test_a_digest_is_what_decides_the_cuts() -> None:
    one, other = (train(TEXTS, Recipe("characters"), language="fa") for _ in range(2))
    assert one.digest == other.digest
    assert one.digest != train(TEXTS[:3], Recipe("characters"), language="fa").digest
    assert one.digest != train(TEXTS, Recipe("characters"), language="ar").digest


def test_training_twice_gives_the_same() -> None:
    pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    pytest.importorskip("morfessor", reason="Morfessor is not installed")
    for recipe in (Recipe("unigram", 60), Recipe("morphology", 60), Recipe("morphology", 60, joints="morfessor")):
        random.seed(recipe.name)
        before = random.getstate()
        digests = {train(TEXTS, recipe, language="fa").digest for _ in range(3)}
        assert len(digests) == 1
        assert random.getstate() == before


def test_characters_are_the_vocabulary_of_characters() -> None:
    """A model trained with one goes on with the other."""
    tokenizer = train(TEXTS, Recipe("characters"), language="fa")
    assert tokenizer.vocabulary.unit == "char"
    assert [tokenizer.vocabulary.tokens[i] for i in tokenizer.encode(TEXTS[2])] == tokenizer.tokens(TEXTS[2])


def test_the_papers_tokenizer() -> None:
    pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    assert (PAPER.kind, PAPER.vocab_size) == ("paper-bpe", 512)
    tokenizer = train(TEXTS, Recipe("paper-bpe", 60), language="fa")
    tokens = tokenizer.tokens("کتاب خوب است")
    assert tokens.count(SPACE_TOKEN) == 3  # every word is closed, the last too
    assert tokens[-1] == SPACE_TOKEN
    assert "".join(tokens) == f"{WORD_START}کتاب|{WORD_START}خوب|{WORD_START}است|"
    assert tokenizer.size <= 60 - 3 + 2  # three control symbols are no pieces; blank and | are added


@pytest.mark.parametrize("method", ["bpe", "unigram"])
def test_no_piece_reaches_over_a_joint(method: Any) -> None:
    pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    joined, whole = (
        train(TEXTS, recipe, language="fa") for recipe in (Recipe("morphology", 60, method=method), Recipe(method, 60))
    )
    crossed = 0
    for word in {word for text in TEXTS for word in joined.normaliser(text).split()}:
        ends = set(np.cumsum([len(morph) for morph in joined.morphs(word)]).tolist())
        assert ends <= set(np.cumsum([len(piece) for piece in joined.cut(word)]).tolist()), word
        assert all(ZWNJ not in piece[1:-1] for piece in joined.cut(word)), word
        crossed += not ends <= set(np.cumsum([len(piece) for piece in whole.cut(word)]).tolist())
    assert crossed  # which the pieces that know no joints do


WORDS = {
    "fa": Counter({"کتاب": 9, "رو": 3, "دوست": 5, "میدان": 4, "دان": 9, "بزرگ": 8, "خانه": 7, "آزاد": 3}),
    "ar": Counter({"كتاب": 5, "مدرسة": 4, "ولد": 6, "السلطة": 3, "سلطة": 2, "بيت": 4, "الذي": 9}),
    "ur": Counter({"کتاب": 5, "لڑکا": 6, "آنکھ": 4, "چل": 3, "پڑھ": 4}),
}


@pytest.mark.parametrize(
    ("language", "word", "morphs"),
    [
        ("fa", "می‌روم", f"می{ZWNJ} رو م"), ("fa", "کتاب‌هایش", f"کتاب {ZWNJ}های ش"), ("fa", "کتابها", "کتاب ها"),
        ("fa", "کتابهایشان", "کتاب های شان"), ("fa", "دوستم", "دوست م"), ("fa", "میدان", "میدان"),
        ("fa", "بزرگ‌ترین", f"بزرگ {ZWNJ}ترین"), ("fa", "خانه‌ام", f"خانه {ZWNJ}ام"), ("fa", "نکردند", "ن کرد ند"),
        ("fa", "آزاد", "آزاد"), ("fa", "سلام", "سلام"),
        ("ar", "والكتاب", "و ال كتاب"), ("ar", "مدرستها", "مدرست ها"), ("ar", "للسلطة", "ل لسلطة"),
        ("ar", "كتابهم", "كتاب هم"), ("ar", "الذي", "الذي"), ("ar", "وبالبيت", "و ب ال بيت"), ("ar", "ولد", "ولد"),
        ("ur", "کتابوں", "کتاب وں"), ("ur", "لڑکے", "لڑک ے"), ("ur", "آنکھیں", "آنکھ یں"), ("ur", "چلتے", "چل تے"),
        ("ur", "پڑھنا", "پڑھ نا"), ("ur", "لڑکا", "لڑکا"),
    ],
)  # fmt: skip
def test_joints(language: str, word: str, morphs: str) -> None:
    found = AffixJoints(affixes(language), WORDS[language]).morphs(for_language(language)(word))
    assert found == morphs.split(" ")


@pytest.mark.parametrize("language", ["fa", "ar", "ur"])
@given(word=st.text(st.sampled_from("میهاتروندکبالفسةےںوئ\u200c"), min_size=1, max_size=9))
def test_morphs_are_the_word(language: str, word: str) -> None:
    normal = for_language(language)(word)
    for one in normal.split():
        morphs = AffixJoints(affixes(language), WORDS[language]).morphs(one)
        assert "".join(morphs) == one
        assert all(morph.strip(ZWNJ) for morph in morphs)


def test_a_list_of_words_is_evidence_too() -> None:
    pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    without = train(TEXTS, Recipe("morphology", 60), language="fa")
    with_list = train(TEXTS, Recipe("morphology", 60), language="fa", lexicon={"درخت": 1})
    assert without.morphs("درختها") == ["درختها"]
    assert with_list.morphs("درختها") == ["درخت", "ها"]


def test_what_cannot_be_trained() -> None:
    with pytest.raises(UserError, match="no word in the texts"):
        train(["", "؟"], Recipe("characters"), language="fa")
    with pytest.raises(UserError, match="'de': no table of affixes; there are fa, ar, ur"):
        train(["ein Wort"], Recipe("morphology"), language="de")
    pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    with pytest.raises(VocabularySizeError, match="vocabulary of 5000: SentencePiece can't learn it"):
        train(TEXTS, Recipe("bpe", 5000), language="fa")
    with pytest.raises(VocabularySizeError, match="vocabulary of 9: SentencePiece can't learn it"):
        train(TEXTS, Recipe("unigram", 9), language="fa")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"needs SentencePiece; pip install 'signwave\[tokenizers\]'"):
        learn_pieces(Counter({"ab": 1}), "bpe", vocab_size=8)
    monkeypatch.setitem(__import__("sys").modules, "morfessor", None)
    with pytest.raises(UserError, match=r"needs Morfessor; pip install 'signwave\[tokenizers\]'"):
        train(TEXTS, Recipe("morphology", 60, joints="morfessor"), language="fa")
