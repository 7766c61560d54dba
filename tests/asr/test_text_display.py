"""The display form: learnt spellings come back, and showing can always be taken back."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.text import NORMALISERS, for_language
from asr.text.display import DisplayForm
from signwave.errors import ArtefactError
from signwave.text import Normaliser

WRITTEN = [
    "این، مسئلهٔ «أصلی» است؛ نه آن.",
    "می\u200cروم؛ می\u200cروم و می روم",
    "کتاب\u200cهایِ خوب",
    "سال ۱۳۵۷ و/یا ۱۴۰۰",
]
JOINED = Normaliser(
    "spaces", ("nfc", "strip_marks", "zwnj_to_space", "ascii_digits", "strip_punctuation", "collapse_spaces")
)


def test_the_usual_spelling_comes_back() -> None:
    shown = DisplayForm.learn(WRITTEN, for_language("fa"), language="fa")
    assert shown.show("کتاب\u200cهای اصلی 57") == "کتاب\u200cهایِ أصلی ۵۷"
    assert shown.plain(shown.show("کتاب\u200cهای اصلی 57")) == "کتاب\u200cهای اصلی 57"


def test_non_joiners_come_back_where_most_people_write_them() -> None:
    shown = DisplayForm.learn(WRITTEN, JOINED, language="fa")
    assert {key: form for key, form in shown.forms.items() if " " in key} == {
        "کتاب های": "کتاب\u200cهایِ",
        "می روم": "می\u200cروم",
    }
    assert shown.show("من می روم") == "من می\u200cروم"
    rarely = DisplayForm.learn([*WRITTEN, "می روم", "می روم"], JOINED)
    assert "می روم" not in rarely.forms


def test_punctuation_is_no_part_of_a_word() -> None:
    shown = DisplayForm.learn(["(Yes!) and/or — don't", "NO, No., No"], for_language("en"), language="en")
    assert shown.forms == {"yes": "Yes", "no": "No"}


@pytest.mark.parametrize("code", NORMALISERS)
@given(
    written=st.lists(st.text(st.sampled_from("اأآيىکكهٔه\u0654ةۀ\u200c َـ۱١1a.A'"), max_size=12), max_size=8),
    text=st.text(st.sampled_from("اأيکهۀ\u200c 1a'"), max_size=12),
)
def test_showing_can_be_taken_back(code: str, written: list[str], text: str) -> None:
    normaliser = NORMALISERS[code]
    shown = DisplayForm.learn(written, normaliser, language=code)
    for plain in [normaliser(text), *map(normaliser, written)]:
        assert shown.plain(shown.show(plain)) == plain


def test_it_is_a_file(tmp_path: Path) -> None:
    shown = DisplayForm.learn(WRITTEN, for_language("fa"), language="fa")
    shown.save(tmp_path / "display.json")
    assert DisplayForm.load(tmp_path / "display.json") == shown
    content = json.loads((tmp_path / "display.json").read_text())
    for change in ({"forms": {"خوب": "بد"}}, {"forms": 3}, {"format_version": 2}):
        (tmp_path / "bad.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(ArtefactError, match=r"bad.json: not a display form"):
            DisplayForm.load(tmp_path / "bad.json")
