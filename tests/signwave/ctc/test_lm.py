import gzip
import math
from pathlib import Path

import pytest
import torch
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.ctc import NgramLm
from signwave.errors import ArtefactError, UserError

SENTENCE = st.lists(st.sampled_from("abcde"), min_size=1, max_size=7)


def kenlm_scores(path: Path, sentences: list[list[str]]) -> list[list[float]]:
    """Natural logs of each word and of the sentence end, by KenLM."""
    dictionary = Dictionary(sorted({word for sentence in sentences for word in sentence}) or ["x"])
    lm = KenLM(str(path), dictionary)
    result = []
    for sentence in sentences:
        state, scores = lm.start(False), []
        for word in sentence:
            state, score = lm.score(state, dictionary.get_index(word))
            scores.append(score * math.log(10))
        result.append([*scores, lm.finish(state)[1] * math.log(10)])
    return result


@settings(max_examples=40, deadline=None)
@given(sentences=st.lists(SENTENCE, min_size=1, max_size=20), order=st.integers(1, 4))
def test_probabilities_sum_to_one_in_every_context(sentences: list[list[str]], order: int) -> None:
    lm = NgramLm.train(sentences, order=order, vocabulary=["never"])
    words = torch.tensor([lm.word_id(word) for word in lm.words if word != "<s>"])
    states = torch.arange(lm.num_states).unsqueeze(1)
    totals = lm.lookup(states, words.unsqueeze(0)).log_probs.double().exp().sum(1)
    assert torch.allclose(totals, torch.ones_like(totals), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(sentences=st.lists(SENTENCE, min_size=1, max_size=20), order=st.integers(1, 4), packed=st.booleans())
def test_written_and_read_back_it_scores_the_same_here_and_in_kenlm(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[list[str]], order: int, packed: bool
) -> None:
    lm = NgramLm.train(sentences, order=order)
    path = tmp_path_factory.mktemp("lm") / ("lm.arpa.gz" if packed else "lm.arpa")
    lm.write_arpa(path)
    again = NgramLm.from_arpa(path)
    trials = [*sentences, ["a", "zzz", "b"], []]
    ours = [again.word_scores(trial) for trial in trials]
    assert again.words == lm.words
    for trial, scores in zip(trials, ours):
        assert scores == pytest.approx(lm.word_scores(trial), abs=1e-5)
    if order > 1 and not packed:  # KenLM reads no unigram models, and gzip only where it was built with it
        for scores, theirs in zip(ours, kenlm_scores(path, trials)):
            assert scores == pytest.approx(theirs, abs=1e-4)


def test_kneser_ney_by_hand() -> None:
    """Two sentences "a b", "a c": worked out on paper with the fall-back discounts 0.5, 1, 1.5."""
    lm = NgramLm.train([["a", "b"], ["a", "c"]], order=2)
    # Continuation counts: a 1 (after <s>), b 1, c 1 (after a), </s> 2 (after b and c); 5 in all, 5 words but <s>.
    freed = (3 * 0.5 + 1 * 1.0) / 5
    low_b = (1 - 0.5) / 5 + freed / 5
    assert lm.score(["b"], start=False, end=False) == pytest.approx(math.log(low_b))
    high_b = (1 - 0.5) / 2 + (2 * 0.5 / 2) * low_b
    assert lm.word_scores(["a", "b"])[1] == pytest.approx(math.log(high_b))


def test_training_refuses_nothing_and_reserved_words() -> None:
    with pytest.raises(UserError, match="no sentences to train"):
        NgramLm.train([[]])
    with pytest.raises(UserError, match="reserved word '</s>'"):
        NgramLm.train([["a", "</s>"]])
    with pytest.raises(ValueError, match="order must be at least 1"):
        NgramLm.train([["a"]], order=0)


HEAD = "\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-1\ta\t0\n-1\tb\n\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", r"lm.arpa:1: no \\data\\ section"),
        ("", r"lm.arpa:0: no \\data\\ section"),
        ("\\data\\\nngram 2=1\n", r"lm.arpa:2: 'ngram 2=1' out of order"),
        ("\\data\\\nngram 1=2\n", "lm.arpa:2: the file ends after its head"),
        (HEAD + "\\2-grams:\n-1\ta b\n", "lm.arpa:10: the file ends inside the 2-grams"),
        (HEAD + "\\end\\\n", r"lm.arpa:9: '\\end\\' where '\\2-grams:' should stand"),
        (HEAD + "\\2-grams:\n\\end\\\n", "lm.arpa:10: 0 2-grams, but the head announces 1"),
        (HEAD + "\\2-grams:\n-1\ta c\n\\end\\\n", "lm.arpa:10: the word 'c' of a 2-gram is not among the 1-grams"),
        (
            HEAD + "\\2-grams:\nx\ta b\n\\end\\\n",
            "lm.arpa:10: 'x\ta b' starts or ends with something that is no number",
        ),
        (HEAD + "\\2-grams:\n-1\ta\n\\end\\\n", "lm.arpa:10: '-1\ta' is no 2-gram"),
        (HEAD.replace("\tb", "\ta"), "lm.arpa:7: the word 'a' is listed twice"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(text)
    with pytest.raises(ArtefactError, match=message):
        NgramLm.from_arpa(path)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such file"):
        NgramLm.from_arpa(tmp_path / "none.arpa")
    (tmp_path / "binary").write_bytes(b"mmap lm \xff\xfe\xfd")
    with pytest.raises(ArtefactError, match="not an ARPA text"):
        NgramLm.from_arpa(tmp_path / "binary")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(HEAD.encode() * 100)[:40])
    with pytest.raises(ArtefactError, match="not an ARPA text"):
        NgramLm.from_arpa(tmp_path / "cut.gz")


def test_cut_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(
        "\\data\\\nngram 1=2\nngram 2=1\nngram 3=1\n\\1-grams:\n-1\ta\t0\n-1\tb\n"
        "\\2-grams:\n-1\ta b\n\\3-grams:\n-1\tb a b\n\\end\\\n"
    )
    with pytest.raises(ArtefactError, match="'b a b' is listed, but its context is not"):
        NgramLm.from_arpa(path)


@pytest.mark.parametrize("name", ["parlance/test.arpa", "flashlight_text/lm.arpa"])
def test_real_files_score_as_in_kenlm(shared_data: Path, name: str) -> None:
    path = shared_data / "decoding" / name
    lm = NgramLm.from_arpa(path)
    words = [word for word in lm.words if word not in ("<s>", "</s>")][:40]
    generator = torch.Generator().manual_seed(0)
    sentences = [[words[int(i)] for i in torch.randint(len(words), (8,), generator=generator)] for _ in range(20)]
    sentences += [["looking", "on", "a", "little", "more", "loin"], ["the", "notaword", "also"], []]
    for ours, theirs in zip(map(lm.word_scores, sentences), kenlm_scores(path, sentences)):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_a_model_with_bonuses_for_probabilities(shared_data: Path) -> None:
    lm = NgramLm.from_arpa(shared_data / "decoding/pyctcdecode/bugs_bunny_kenlm.arpa")
    assert lm.score(["bugs", "bunny"]) == 0
    assert lm.score(["bunny"]) == pytest.approx(-10 * math.log(10))
    assert lm.score(["elmer"]) == pytest.approx(-10 * math.log(10), rel=1e-4)
