"""The gloss rules against what the real scripts do, and the short cut for CTM lines against all rules on all lines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slr.scoring import cleaning
from slr.scoring.broadcasts import broadcast, is_phoenix2014, is_phoenix2014t
from slr.scoring.cleaning import clean_p14, clean_p14t, clean_sentence_p14, clean_sentence_p14t

CHAINS = {"p14": clean_p14, "p14t": clean_p14t}


def ctm(clip_id: str, *tokens: str) -> list[str]:
    return [f"{clip_id} 1 {n / 100:.2f} {(n + 1) / 100:.2f} {token}" for n, token in enumerate(tokens)]


def glosses(lines: list[str], clip_id: str) -> list[str] | None:
    return [line.split()[4] for line in lines if line.split()[0] == clip_id] or None


def through(chain, *tokens: str) -> list[str] | None:
    """Glosses of a clip that another one follows: the scripts fill [EMPTY] when the next clip begins."""
    return glosses(chain([*ctm("clip", *tokens), *ctm("next", "END")]), "clip")


def test_every_case_that_the_real_scripts_were_run_on(shared_data: Path):
    cases = json.loads((shared_data / "sign/derived/gloss_cleaning_vectors.json").read_text(encoding="utf-8"))
    for case in cases["tokens"]:
        for name, chain in CHAINS.items():
            assert through(chain, "ANFANG", case["token"], "ENDE") == case[f"{name}_in_context"], case["token"]
            assert through(chain, case["token"]) == case[f"{name}_alone"], case["token"]
    for case in cases["sequences"]:
        text = " ".join(case["input"])
        for name, chain in CHAINS.items():
            assert through(chain, *case["input"]) == case[f"{name}_script"], text
        assert clean_sentence_p14(text).split() == case["slrt_python_p14"], text
        assert clean_sentence_p14t(text).split() == case["slrt_python_p14t"], text
    assert len(cases["tokens"]) + len(cases["sequences"]) == 328


def test_prefixes_go_anywhere_in_a_line_of_p14_but_only_in_front_for_p14t():
    assert through(clean_p14, "Xloc-Y") == ["XY"]
    assert through(clean_p14t, "Xloc-Y") == ["Xloc-Y"]
    assert clean_p14(ctm("loc-3", "A"))[0].startswith("3 1 ")


def test_words_and_letters_join_in_sentences_only():
    assert through(clean_p14, "WIE", "AUSSEHEN") == ["WIE", "AUSSEHEN"]
    assert clean_sentence_p14("WIE AUSSEHEN REGEN REGEN K L M") == "WIE-AUSSEHEN REGEN K+L+M"


def test_p14_keeps_repeats_and_p14t_merges_them_within_a_clip():
    lines = [*ctm("a", "REGEN", "REGEN"), *ctm("b", "REGEN")]
    assert [glosses(clean_p14(lines), clip) for clip in "ab"] == [["REGEN", "REGEN"], ["REGEN"]]
    assert [glosses(clean_p14t(lines), clip) for clip in "ab"] == [["REGEN"], ["REGEN"]]


def test_p14_sorts_clips_as_bytes_and_times_as_text():
    lines = ["b 1 9.0 1 NEUN", "b 1 10.0 1 ZEHN", "B 1 0.0 1 GROSS"]
    assert [line.split()[4] for line in clean_p14(lines)] == ["GROSS", "ZEHN", "NEUN"]


def test_last_clip_without_gloss_is_gone_as_in_the_script():
    assert glosses(clean_p14([*ctm("a", "X"), *ctm("b", "__PU__")]), "b") is None
    assert through(clean_p14, "__PU__") == ["[EMPTY]"]


PARTS = ("loc-", "cl-", "ZEIGEN", "RAUM", "HABEN2", "S0NNE", "A", "B+C", "SCH", "NN", "__PU__", "-PLUSPLUS", "x", "ä")
TOKEN = st.lists(st.sampled_from(PARTS), max_size=4).map("".join)


@given(TOKEN.filter(bool), TOKEN, st.sampled_from(["0.00 0.01", "12.5 3", "000001.20 0.01"]))
def test_cleaning_by_parts_is_cleaning_of_the_entire_line(clip_id, token, times):
    line = f"{clip_id} 1 {times} {token}"
    assert cleaning._p14_line(line) == cleaning._apply(cleaning._P14_LINE, line)


@pytest.mark.parametrize(
    ("clip_id", "name", "p14", "p14t"),
    [
        ("01April_2010_Thursday_heute_default-1", "01april_2010_thursday_heute", True, False),
        ("01April_2010_Thursday_tagesschau-7583", "01april_2010_thursday_tagesschau", False, True),
        ("S000020_P0004_T00", "", False, False),
    ],
)
def test_broadcast_of_an_id(clip_id, name, p14, p14t):
    assert (broadcast(clip_id), is_phoenix2014(clip_id), is_phoenix2014t(clip_id)) == (name, p14, p14t)


def test_rules_hold_no_pattern_that_reads_unicode_classes():
    assert all(pattern.flags & re.ASCII for pattern, _ in cleaning._P14_LINE)
