"""`asr score`: protocols, hashes, speakers, spellings that count as right, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr import scoring
from asr.cli import main
from asr.text import for_scoring
from asr.text.alphabets import ALPHABETS, foreign_characters
from signwave import manifest, metrics
from signwave.errors import UserError
from signwave.manifest import Clip

ZWNJ = "\u200c"
Score = Callable[..., dict[str, Any]]


@pytest.fixture
def lines(tmp_path: Path) -> Score:
    def run(reference: str, hypothesis: str, **options: Any) -> dict[str, Any]:
        for name, text in (("ref.txt", reference), ("hyp.txt", hypothesis)):
            (tmp_path / name).write_text(text, encoding="utf-8")
        return scoring.score(tmp_path / "hyp.txt", tmp_path / "ref.txt", **options).to_dict()

    return run


def test_one_decoding_gives_several_rates(lines: Score) -> None:
    result = lines(f"می{ZWNJ}روم، كتاب خوب\nسال ۱۳۵۷", "می روم کتاب بد\nسال 1357", language="fa")
    raw, orthographic, lenient = (result["figures"][name] for name in ("raw", "orthographic", "space_lenient"))
    assert raw["num_reference_tokens"] == orthographic["num_reference_tokens"] == lenient["num_reference_tokens"] == 5
    assert [one["substitutions"] + one["insertions"] + one["deletions"] for one in (raw, orthographic, lenient)] == [
        5,
        3,
        1,
    ]
    assert result["protocol"] == "orthographic"
    assert result["wer"] == orthographic["wer"] == 3 / 5
    assert result["cer"] == lenient["cer"] == pytest.approx(3 / 19)  # خوب for بد, and no space in it
    for name, normaliser in (("orthographic", for_scoring("fa")), ("space_lenient", for_scoring("fa"))):
        assert result["figures"][name]["normaliser_sha256"] == normaliser.digest
    assert raw["normaliser"] == "none"


def test_without_a_language_texts_are_as_they_are(lines: Score) -> None:
    result = lines("Yes yes", "yes yes")
    assert list(result["figures"]) == ["raw", "space_lenient"]
    assert (result["protocol"], result["wer"], result["out_of_alphabet"]) == (
        "raw",
        0.5,
        {"reference": {}, "hypothesis": {}},
    )


def test_groups_of_spellings_on_request(lines: Score) -> None:
    texts = ("على مدرسة أحمد", "علي مدرسه احمد")
    assert lines(*texts, language="ar")["wer"] == 2 / 3
    folded = lines(*texts, language="ar", fold=["final-yeh", "teh-marbuta"])
    assert (folded["wer"], folded["normaliser"]) == (0, "arabic-2+alef+final-yeh+teh-marbuta")
    with pytest.raises(UserError, match="'izafat': no group of spellings of 'ar'; allowed are alef, final-yeh"):
        lines(*texts, language="ar", fold=["izafat"])
    with pytest.raises(UserError, match="give --language"):
        lines(*texts, fold=["alef"])


def test_several_spellings_count_as_right(lines: Score, tmp_path: Path) -> None:
    table = tmp_path / "variants.tsv"
    table.write_text("# of Persian\nان شاء الله\tانشاءالله\nمسئول\tمسؤول\n\n", encoding="utf-8")
    texts = ("انشاءالله مسئول آمد", "ان شاء الله مسؤول آمد")
    assert lines(*texts, language="fa")["wer"] > 0
    result = lines(*texts, language="fa", spellings=table)
    assert result["wer"] == result["cer"] == 0
    assert result["figures"]["raw"]["wer"] > 0
    assert len(result["spellings_sha256"]) == 64
    table.write_text("مسئول\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"variants.tsv:1: 'مسئول': give at least two spellings"):
        lines(*texts, language="fa", spellings=table)
    table.write_text("a\tb\nc\tb\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"variants.tsv:2: 'b' is in another group too"):
        lines(*texts, language="fa", spellings=table)
    with pytest.raises(UserError, match=r"absent.tsv: can't be read as spellings"):
        lines(*texts, language="fa", spellings=tmp_path / "absent.tsv")


@pytest.fixture
def spoken(tmp_path: Path) -> Callable[[list[str]], Path]:
    """Thirty recordings, the second half of which have an error in each; who speaks them is given."""

    def make(people: list[str]) -> Path:
        clips = [
            Clip(id=str(n), path=f"{n}.wav", kind="audio", text="یک دو سه چهار", language="fa", person=person)
            for n, person in enumerate(people)
        ]
        manifest.write(tmp_path / "ref.jsonl", clips)
        records = [
            {"file": f"{n}.wav", "text": "یک دو سه چهار" if n < len(people) // 2 else "یک دو سه"}
            for n in range(len(people))
        ]
        (tmp_path / "hyp.json").write_text(json.dumps({"records": records}))
        return tmp_path

    return make


def test_intervals_are_drawn_by_speaker(spoken: Callable[[list[str]], Path]) -> None:
    """All errors are one speaker's: the rate depends on who was asked, and a draw of recordings doesn't know that."""
    folder = spoken(["good"] * 15 + ["bad"] * 15)
    evaluation = scoring.score(folder / "hyp.json", folder / "ref.jsonl", language="fa")
    result = evaluation.to_dict()
    assert (result["interval_unit"], result["num_interval_units"], result["wer"]) == ("speaker", 2, 1 / 8)
    assert result["interval_95"] == [0, 0.25]
    words = evaluation.figures["orthographic"].words
    assert result["interval_95"] == list(metrics.error_rate_interval(words, groups=evaluation.people)[:2])
    assert metrics.error_rate_interval(words).low > 0
    worst, best = result["speakers"]
    assert (worst["speaker"], worst["num_recordings"], worst["wer_orthographic"]) == ("bad", 15, 0.25)
    assert (best["wer_raw"], best["wer_space_lenient"], best["cer"], best["interval_95"]) == (0, 0, 0, [0, 0])
    assert worst["num_reference_tokens"] + best["num_reference_tokens"] == result["num_reference_tokens"]


def test_unknown_speakers_stand_for_themselves(spoken: Callable[[list[str]], Path]) -> None:
    folder = spoken(["one"] * 10 + [""] * 20)
    result = scoring.score(folder / "hyp.json", folder / "ref.jsonl", language="fa").to_dict()
    assert (result["interval_unit"], result["num_interval_units"]) == ("mixed", 21)
    assert [row["speaker"] for row in result["speakers"]] == ["one"]
    none = spoken([""] * 30)
    result = scoring.score(none / "hyp.json", none / "ref.jsonl", language="fa").to_dict()
    assert (result["interval_unit"], result["num_interval_units"], result["speakers"]) == ("recording", 30, [])


def test_what_the_alphabet_lacks_is_told(lines: Score) -> None:
    result = lines("يك تي\u0679 3", "یک", language="fa")
    assert result["out_of_alphabet"] == {"reference": {"\u0679": 1, "3": 1}, "hypothesis": {}}
    for code, letters in ALPHABETS.items():
        assert not foreign_characters([letters], code), code
    assert not foreign_characters(["ж"], "ru")


def test_the_command(spoken: Callable[[list[str]], Path], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    folder = spoken(["good"] * 15 + ["bad"] * 15)

    def run(*options: str) -> int:
        files = ["asr", "score", str(folder / "hyp.json"), str(folder / "ref.jsonl")]
        monkeypatch.setattr("sys.argv", [*files, *options])
        return main()

    assert run("--language", "fa", "--by-speaker", "--fold", "ezafe, hamza") == 0
    told = capsys.readouterr().out
    digest = for_scoring("fa", fold=["ezafe", "hamza"]).digest
    assert told.count(f"persian-2+ezafe+hamza {digest[:12]}") == 2
    assert "intervals from 2 speakers" in told
    assert told.index("bad ") < told.index("good ")
    assert run("--language", "fa", "--fold", "nonsense") == 1
    assert "'nonsense': no group of spellings" in capsys.readouterr().err
    assert run("--language", "fa", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert {"protocol", "wer", "num_reference_tokens", "correct", "substitutions", "deletions", "insertions",
            "sentence_error_rate", "interval_95"} <= set(document)  # fmt: skip
