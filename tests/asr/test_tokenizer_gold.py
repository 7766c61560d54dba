"""Annotated boundaries inside words, from treebanks and paradigms, and how cuts are compared with them."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.text import for_language
from asr.tokenizers import Recipe, train
from asr.tokenizers.boundaries import boundaries, score_boundaries, score_tokenizer
from asr.tokenizers.gold import read_gold, read_treebank, read_unimorph, read_verb_stems
from asr.tokenizers.joints import AffixJoints, affixes
from signwave.errors import UserError

ZWNJ = "\u200c"
FA, AR, UR = (for_language(code) for code in ("fa", "ar", "ur"))


def row(number: str, form: str, lemma: str, upos: str = "NOUN", misc: str = "_") -> str:
    return "\t".join([number, form, lemma, upos, "_", "_", "0", "_", "_", misc])


def write(path: Path, *rows: str) -> Path:
    path.write_text("# text = x\n" + "\n".join(rows) + "\n\n", encoding="utf-8")
    return path


def test_words_of_a_treebank(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.conllu",
        row("1", f"می{ZWNJ}کنم", "کرد", "VERB", "OrigLemma=کرد#کن"),
        row("2-3", "کشورمان", "_"),
        row("2", "کشور", "کشور"),
        row("3", "مان", "ما", "PRON"),
        row("4", f"کار{ZWNJ}ها", "کار", "NOUN", "SpaceAfter=No"),  # a non-joiner that doesn't show
        row("5", ".", ".", "PUNCT"),
        row("6", "بینوا", "نادار"),
        row("7", "۱۲", "۱۲", "NUM"),
    )
    found = {word.word: (word.joints, word.stems) for word in read_treebank(path, FA)}
    assert found == {
        f"می{ZWNJ}کنم": ({2}, {2, 4}),
        "کشورمان": ({4}, {4}),
        "کارها": ({3}, {3}),
        "بینوا": (set(), None),  # the lemma isn't in it: nothing is known of its stem
    }


def test_arabic_words_are_joined_where_no_space_follows(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.conllu.gz.txt",
        row("1", "ل", "لِ", "ADP", "SpaceAfter=No"),
        row("2", "لسلطة", "سُلطَة"),
        row("3", "الولايات", "وِلايَة", "NOUN", "SpaceAfter=No"),
        row("4", ",", ",", "PUNCT", "SpaceAfter=No"),
        row("5", "نشرت", "نَشَر", "VERB", "SpaceAfter=No"),
        row("6", "ها", "هُوَ", "PRON"),
    )
    packed = tmp_path / "a.conllu.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    words = list(read_treebank(packed, AR))
    assert [(word.word, word.joints, word.stems) for word in words] == [
        ("للسلطة", {1}, {1, 2}),
        ("الولايات", set(), {2, 6}),
        ("نشرتها", {4}, {3, 4}),
    ]


def test_paradigms(tmp_path: Path) -> None:
    persian = tmp_path / "fas"
    persian.write_text(
        "رفتن\tمیروم\tV;1;SG\nرفتن\tرفتند\tV;3;PL\nرفتن\tرفتند\tV;3;PL;COL\nآب دادن\tآب داد\tV\nپختن\tپخته\tV\n\n"
    )
    (tmp_path / "verbs.dat").write_text("#هست\nرفت#رو\n")
    stems = read_verb_stems(tmp_path / "verbs.dat", FA)
    assert stems == {"رفت": "رو"}
    words = list(read_unimorph(persian, FA, language="fa", present_stems=stems))
    assert [(word.word, word.joints, word.stems) for word in words] == [
        ("میروم", None, {2, 4}), ("رفتند", None, {3}), ("پخته", None, {3})
    ]  # fmt: skip
    urdu = tmp_path / "urd.gz"
    urdu.write_bytes(gzip.compress("اٹھنا\tاٹھتی\tV;FEM\nآنکھ\tآنکھوں\tN;PL\nلڑکا\tلڑکے\tN;PL\n".encode()))
    assert [(word.word, word.stems) for word in read_unimorph(urdu, UR, language="ur-PK")] == [
        ("اٹھتی", {3}), ("آنکھوں", {4})
    ]  # fmt: skip


def test_files_that_are_no_gold(tmp_path: Path) -> None:
    path = tmp_path / "bad.conllu"
    path.write_text("# text = x\n1\tx\n")
    with pytest.raises(UserError, match=r"bad.conllu:2: not CoNLL-U, it has 2 columns for 10"):
        list(read_treebank(path, FA))
    with pytest.raises(UserError, match=r"bad.conllu:1: not UniMorph, it has 1 columns for 3"):
        list(read_unimorph(path, FA, language="fa"))
    (tmp_path / "cut.conllu.gz").write_bytes(gzip.compress(b"# x\n" * 500)[:20])
    with pytest.raises(UserError, match=r"cut.conllu.gz: can't be read"):
        list(read_treebank(tmp_path / "cut.conllu.gz", FA))
    with pytest.raises(UserError, match="no word with annotated boundaries"):
        score_boundaries([], [])


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5))
def test_boundaries_are_between_letters(parts: list[str]) -> None:
    word = "".join(parts)
    expected = {end for end in range(1, len(word)) if any(len("".join(parts[:n])) == end for n in range(len(parts)))}
    assert boundaries(parts) == expected
    assert boundaries([f"{ZWNJ}{part}" for part in parts]) == expected
    assert boundaries(["\u2581", *parts]) == expected


def test_rates_of_boundaries() -> None:
    found = score_boundaries([["ab", "c"], ["a", "b", "c"], ["abc"]], [frozenset({2}), frozenset({1}), frozenset({1})])
    assert (found.num_words, found.num_gold, found.num_found, found.num_right) == (3, 3, 3, 2)
    assert (found.precision, found.recall, found.f1) == (2 / 3, 2 / 3, 2 / 3)
    low, high = found.f1_interval_95
    assert low < found.f1 < high


def test_characters_find_every_boundary_and_words_none(shared_data: Path) -> None:
    path = shared_data / "text" / "UD_Persian-Seraji" / "fa_seraji-ud-test.conllu.gz"
    words = list(read_treebank(path, FA))
    assert len(words) > 10_000
    characters = train([word.word for word in words], Recipe("characters"), language="fa")
    assert words == read_gold(path, characters)
    for one in score_tokenizer(characters, words).values():
        assert one.recall == 1
        assert one.num_gold > 500
    assert score_boundaries(([word.word] for word in words), (word.joints or frozenset() for word in words)).f1 == 0


def test_joints_are_found_in_real_texts(shared_data: Path) -> None:
    """On text that the table wasn't written with: most cuts are right, and more than half of the edges are found."""
    texts = shared_data / "text"
    path = texts / "UD_Persian-Seraji" / "fa_seraji-ud-test.conllu.gz"
    words = [word for word in read_treebank(path, FA) if word.stems is not None]
    counts = {word.word: 0 for word in words}
    for word in words:
        counts[word.word] += 1
    joints = AffixJoints(affixes("fa"), counts)
    found = score_boundaries(
        (joints.morphs(word.word) for word in words), (word.stems or frozenset() for word in words)
    )
    assert found.precision > 0.85
    assert found.recall > 0.6
