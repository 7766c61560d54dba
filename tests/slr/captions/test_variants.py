"""Key words, questions and words of another language: learnt from captions whose meaning is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwave.errors import ConfigError
from signwave.manifest import Clip
from slr.captions.keywords import frequent_words, keywords, read_stop_words
from slr.captions.lexicon import learn_lexicon, switch_code
from slr.captions.variants import add_variants, make_variers, question_templates
from slr.captions.words import bare, plain, split_words

NOUNS = {"dog": "Hund", "cat": "Katze", "horse": "Pferd", "bird": "Vogel", "cow": "Kuh", "fish": "Fisch", "hen": "Huhn"}
VERBS = {"sees": "sieht", "seeks": "sucht", "feeds": "füttert", "likes": "mag", "hears": "hört", "leads": "führt"}


def clips() -> list[Clip]:
    """Each sentence twice, in English, in German with the words in another order, and in Chinese characters."""
    said = [(a, v, b) for a, v, b in itertools.product(NOUNS, VERBS, NOUNS) if a != b]
    return [
        Clip(
            id=f"{group}-{performance}",
            path="a.pose",
            kind="pose",
            group=f"train-{group}",
            split="train",
            captions={
                "en": f"The {a} {v} the {b}.",
                "de": f"Ob den {NOUNS[b]} das {NOUNS[a]} {VERBS[v]}?",
            },
        )
        for group, (a, v, b) in enumerate(said)
        for performance in range(2)
    ]


def test_stop_words_are_those_of_many_captions() -> None:
    captions = {clip.captions["en"] for clip in clips()}
    assert frequent_words(captions, max_share=0.4) == {"the"}
    with pytest.raises(ConfigError, match="2 different captions are too few"):
        frequent_words({"one", "two"})


def test_the_list_of_stop_words_is_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "en.txt").write_text("# of English\nThe\n\nand,\n", encoding="utf-8")
    assert read_stop_words(tmp_path / "en.txt") == {"the", "and"}
    with pytest.raises(ConfigError, match="can't be read as a list of stop words"):
        read_stop_words(tmp_path / "none.txt")


@given(st.lists(st.sampled_from(["the", "Dog", "dog,", "cat.", "!", "a"]), max_size=8), st.sets(st.sampled_from("a")))
def test_key_words_are_the_rest_once_and_in_order(words: list[str], more: set[str]) -> None:
    stop = {"the", *more}
    found = keywords(" ".join(words), stop).split()
    expected = [plain(word) for word in words if plain(word) and plain(word) not in stop]
    assert [plain(word) for word in found] == list(dict.fromkeys(expected))


def test_characters_are_the_words_of_a_script_without_spaces() -> None:
    assert keywords("我的狗,在家。", {"的", "在"}) == "我狗家"


def test_the_lexicon_is_the_one_that_was_spoken() -> None:
    pairs = [(clip.captions["en"], clip.captions["de"]) for clip in clips()[::2]]
    assert learn_lexicon(pairs, ({"the"}, {"ob", "den", "das"})) == NOUNS | VERBS


def test_association_is_dice_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    pairs = [(" ".join(rng.choice(list("abcd"), 2)), " ".join(rng.choice(list("wxyz"), 2))) for _ in range(40)]
    found = learn_lexicon(pairs, min_dice=0.0)

    def dice(one: str, other: str) -> float:
        both = sum(one in a.split() and other in b.split() for a, b in pairs)
        return 2 * both / (sum(one in a.split() for a, _ in pairs) + sum(other in b.split() for _, b in pairs))

    assert found == {one: max("wxyz", key=lambda other, one=one: dice(one, other)) for one in "abcd"}
    strongest = max(dice(one, found[one]) for one in "abcd")
    assert len(learn_lexicon(pairs, min_dice=strongest)) == 1
    assert learn_lexicon([("a", "w")]) == {}, "one pair shows nothing"


def test_switching_keeps_order_and_punctuation() -> None:
    rng = np.random.default_rng(0)
    lexicon = {"dog": "Hund", "cat": "Katze"}
    seen = {switch_code("The dog, the cat.", lexicon, rng) for _ in range(50)}
    assert seen == {"The Hund, the cat.", "The dog, the Katze.", "The Hund, the Katze."}
    assert switch_code("A cow.", lexicon, rng) == ""


def test_variants_stand_beside_their_captions_and_groups_share_them() -> None:
    made = make_variers(clips(), ["keywords", "question", "de", "en"], ["en"], max_share=0.4)
    assert list(made) == ["en+keywords", "en+question", "en+de"]
    varied = add_variants(clips(), made)
    assert varied.problems == []
    assert varied.num_made == dict.fromkeys(made, len(clips()))
    for first, second in zip(varied.clips[::2], varied.clips[1::2], strict=True):
        assert first.captions == second.captions
        english = first.captions["en"]
        assert first.captions["en+keywords"] == " ".join(english.replace("The ", "").replace("the ", "")[:-1].split())
        content = first.captions["en+keywords"]
        assert first.captions["en+question"] in [
            one.format(keywords=content, sentence=english[:-1]) for one in question_templates()["en"]
        ]
        differing = [(a, b) for a, b in zip(english[:-1].split(), first.captions["en+de"][:-1].split()) if a != b]
        assert differing
        assert all((NOUNS | VERBS)[a] == b for a, b in differing)
    # Neither other clips nor their order matter, other seeds do, and a second time changes nothing.
    assert add_variants(clips()[::-1][:5], made).clips == varied.clips[::-1][:5]
    assert add_variants(varied.clips, made).clips == varied.clips
    assert add_variants(clips(), made, seed=1).clips != varied.clips


def test_a_clip_without_the_caption_is_a_problem_and_one_without_key_words_is_counted() -> None:
    made = make_variers(clips(), ["keywords", "de"], ["en"], max_share=0.4)
    bare = Clip(id="-x", path="a.pose", kind="pose", captions={"de": "Hund"})
    empty = Clip(id="y", path="a.pose", kind="pose", captions={"en": "The the."})
    same = Clip(id="z", path="a.pose", kind="pose", captions={"en": "dog sees cow", "en+keywords": "stale"})
    varied = add_variants([bare, empty, same], made)
    assert [str(one) for one in varied.problems] == ["clip '-x': has no caption in 'en' to vary"]
    assert varied.num_left_out == {"en+keywords": 2, "en+de": 1}
    assert [dict(one.captions) for one in varied.clips[:2]] == [{"de": "Hund"}, {"en": "The the."}]
    assert set(varied.clips[2].captions) == {"en", "en+de"}, "the stale variant is gone"


@pytest.mark.parametrize(
    ("kinds", "languages", "told"),
    [
        (["paraphrase!"], ["en"], "'paraphrase!' is no kind of variant; allowed are keywords, question and languages"),
        (["fa"], ["en"], "no sentence has captions in 'en' and 'fa'"),
        (["question"], ["sw"], "'sw': 0 different captions are too few"),
    ],
)
def test_what_cannot_be_learnt_is_said(kinds: list[str], languages: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_variers(clips(), kinds, languages)
    assert told in str(caught.value)


def test_questions_are_in_ten_languages() -> None:
    templates = question_templates()
    assert list(templates) == ["en", "de", "fr", "es", "zh", "fa", "ar", "ur", "ru", "tr"]
    for questions in templates.values():
        texts = [one.format(keywords="K", sentence="S") for one in questions]
        assert len(set(texts)) == 4
        assert all(("K" in text) != ("S" in text) for text in texts)
    no_questions = {"sw": frozenset[str]()}
    with pytest.raises(ConfigError, match="no questions in 'sw'; there are some in ar, de"):
        make_variers([], ["question"], ["sw"], stop_words=no_questions)


def test_words_are_split_in_any_script() -> None:
    assert split_words("สวัสดี") == ["ส", "วั", "ส", "ดี"]
    assert split_words(" ") == []
    for word in ("हिन्दी", "ดี", "தமிழ்", "كِتَابٌ", "don't"):
        assert bare(f"«{word}»!") == word, "vowel signs and tone marks are part of a word"
    assert [bare(text) for text in ("dog❤️", "❤️", "\u0301", "")] == ["dog", "", "", ""]
    assert split_words("今天 下雨") == ["今天", "下雨"]
