"""What tokenizers are measured by, how one is chosen, and `asr tokenizer` from the command line."""

import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr.cli import main
from asr.tokenizers import Recipe, Tokenizer, train
from asr.tokenizers.choice import Candidate, candidates, choose
from asr.tokenizers.corpus import read_lexicon, read_utterances, split_off
from asr.tokenizers.measures import Utterance, count_tokens, measure, utterances
from signwave import manifest
from signwave.errors import UserError
from signwave.manifest import Clip

STEMS = ["کتاب", "خانه", "دوست", "شهر", "درخت", "مدرسه", "کوچه", "باغ", "پنجره", "دیوار", "مادر", "پدر"]
ENDINGS = ["", "ها", "های", "م", "ش", "مان", "شان", "تر"]


@pytest.fixture
def texts() -> list[str]:
    """Sentences in which every stem takes every ending."""
    rng = random.Random(0)
    return [" ".join(rng.choice(STEMS) + rng.choice(ENDINGS) for _ in range(6)) for _ in range(400)]


def test_measures_are_what_counting_by_hand_gives() -> None:
    tokenizer = train(["ab b"], Recipe("characters"), language="xx")
    training = count_tokens(tokenizer, ["ab b"])
    assert training == {"a": 1, "b": 2, "|": 1}
    # "aab b": five tokens and a repeat need six frames; "b b": three; "c" is unknown
    clips = [Utterance("aab b", 0.12), Utterance("aab b", 0.11), Utterance("b b", 0.06), Utterance("c", 9.0)]
    found = measure(tokenizer, clips, training, step_seconds=0.02)
    assert found.feasible_rate == 2 / 4
    assert found.unknown_rate == 1 / 4
    assert found.repeat_rate == 2 / 14
    assert found.tokens_per_word == 11 / 7
    assert found.tokens_per_second == 14 / sum(clip.seconds for clip in clips)
    chances = {"a": 2 / 7, "b": 3 / 7, "|": 2 / 7, "c": 1 / 7}
    bits = -sum(math.log2(chances[token]) for clip in clips for token in tokenizer.tokens(clip.text))
    assert found.bits_per_second == pytest.approx(bits / sum(clip.seconds for clip in clips))
    assert found.rare_rate == 0  # there are only single letters
    with pytest.raises(UserError, match="no held-out clip with a length"):
        measure(tokenizer, [Utterance("a", 0.0)], training)


def test_longer_pieces_are_rarer_and_say_more(texts: list[str]) -> None:
    pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    held_out = utterances(texts[300:])
    found = []
    for recipe in (Recipe("characters"), Recipe("unigram", 60), Recipe("unigram", 100)):
        tokenizer = train(texts[:300], recipe, language="fa")
        found.append(measure(tokenizer, held_out, count_tokens(tokenizer, texts[:300])))
    assert found[0].tokens_per_second > found[1].tokens_per_second > found[2].tokens_per_second
    assert found[0].bits_per_second > found[1].bits_per_second > found[2].bits_per_second


def test_the_feasible_one_with_the_least_to_say_is_chosen(texts: list[str]) -> None:
    pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    recipes = [Recipe("characters"), Recipe("unigram", 60), Recipe("unigram", 70), Recipe("bpe", 4000)]
    training, held_out = texts[:300], utterances(texts[300:])
    seen: list[Candidate] = []
    tried, chosen = choose(
        training, held_out, recipes, language="fa", step_seconds=0.1, max_rare=1.0, min_feasible=0.2,
        on_candidate=seen.append,
    )  # fmt: skip
    assert seen == tried
    assert "of the clips are feasible" in tried[0].reason  # four letters a word in four frames
    assert "SentencePiece can't learn it" in tried[3].reason
    measured = {one.recipe.name: one.measures.bits_per_second for one in tried if one.measures and not one.reason}
    assert len(measured) == 2
    assert chosen.info["name"] == min(measured, key=lambda name: measured[name])
    _, only = choose(training, held_out, recipes[:1], language="fa", step_seconds=0.02)
    assert only.kind == "characters"
    with pytest.raises(UserError, match=r"no tokenizer fits frames of 1.0 s \(characters: only 0.0% of the clips"):
        choose(training, held_out, recipes, language="fa", step_seconds=1.0)
    with pytest.raises(UserError, match=r"unigram-60: .*% of its tokens are rare"):
        choose(texts[:20], held_out, recipes[1:2], language="fa", max_rare=0.05)


def test_candidates_depend_on_the_language() -> None:
    assert {one.kind for one in candidates("fa-IR")} == {"characters", "paper-bpe", "bpe", "unigram", "morphology"}
    assert "morphology" not in {one.kind for one in candidates("de")}
    assert [one.name for one in candidates("ur", ["unigram"], [64])] == ["unigram-64"]


def test_transcripts_come_from_manifests_and_texts(tmp_path: Path) -> None:
    clips = [
        Clip(id="a", path="a.wav", kind="audio", text="یک دو", num_frames=32_000, rate_hz=16_000.0),
        Clip(id="b", path="b.wav", kind="audio", text="یک دو سه چهار پنج"),
        Clip(id="c", path="c.wav", kind="audio"),
    ]
    manifest.write(tmp_path / "m.jsonl.gz", clips)
    (tmp_path / "t.txt").write_text("یک دو\n\n", encoding="utf-8")
    found = read_utterances([tmp_path / "m.jsonl.gz", tmp_path / "t.txt"])
    assert [(one.text, one.seconds) for one in found] == [("یک دو", 2.0), ("یک دو سه چهار پنج", 2.0), ("یک دو", 0.8)]
    training, held_out = split_off(found * 20)
    assert len({one.text for one in held_out}) == 1
    assert not {one.text for one in training} & {one.text for one in held_out}
    assert Counter(training) + Counter(held_out) == Counter(found * 20)
    (tmp_path / "words.dat").write_text("آب\t3\tN\n\nخانه\n", encoding="utf-8")
    assert read_lexicon(tmp_path / "words.dat") == {"آب": 1, "خانه": 1}
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=r"empty.txt: no transcript in it"):
        read_utterances([tmp_path / "empty.txt"])
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"bytes.txt: can't be read .*a sentence a line"):
        read_utterances([tmp_path / "bytes.txt"])
    with pytest.raises(UserError, match=r"absent.txt: can't be read .*a word a line"):
        read_lexicon(tmp_path / "absent.txt")


@pytest.fixture
def asr(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(*arguments: Any) -> int:
        monkeypatch.setattr("sys.argv", ["asr", "tokenizer", *map(str, arguments)])
        return main()

    return run


def test_train_and_inspect(asr: Callable[..., int], texts: list[str], tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    (tmp_path / "t.txt").write_text("\n".join(texts), encoding="utf-8")
    out = tmp_path / "tok"
    assert asr("train", tmp_path / "t.txt", out, "--language", "fa", "--vocab-size", 60, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    loaded = Tokenizer.load(out)
    assert (facts["digest"], facts["size"], loaded.kind) == (loaded.digest, loaded.size, "morphology")
    (tmp_path / "g.tsv").write_text("خانه\tخانههای\tN;PL\nدوست\tدوستم\tN\n", encoding="utf-8")
    assert asr("inspect", out, "--text", "خانهها", "--gold", tmp_path / "g.tsv", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cuts"] == {"خانهها": loaded.tokens("خانهها")}
    assert told["gold"][str(tmp_path / "g.tsv")]["stems"]["recall"] == 1
    assert asr("inspect", out, "--gold", tmp_path / "g.tsv") == 0
    assert "stems: precision" in capsys.readouterr().out
    assert asr("inspect", tmp_path) == 1
    assert "no tokenizer.json there" in capsys.readouterr().err
    assert asr("train", tmp_path / "t.txt", out, "--language", "fa", "--kind", "wordpiece") == 2
    assert asr("train", out, "--language", "fa") == 2
    assert asr("train", tmp_path / "absent.txt", out, "--language", "fa") == 1


def test_choose(asr: Callable[..., int], texts: list[str], tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("sentencepiece", reason="SentencePiece is not installed")
    (tmp_path / "t.txt").write_text("\n".join(texts), encoding="utf-8")
    options = ("--language", "fa", "--kind", "characters,unigram", "--max-rare", "0.2")
    assert asr("choose", tmp_path / "t.txt", tmp_path / "tok", *options, "--json") == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    names = [one["name"] for one in document["candidates"]]
    assert names == ["characters", "unigram-128", "unigram-256", "unigram-512", "unigram-1024"]
    assert "characters: " in printed.err
    assert Tokenizer.load(tmp_path / "tok").info["name"] == document["chosen"]
    assert asr("choose", tmp_path / "t.txt", tmp_path / "tok", *options, "--step-seconds", "1", "-q") == 1
    assert "no tokenizer fits frames of 1.0 s" in capsys.readouterr().err
