"""Protocols: how each counts, golden error rates, and equality with NIST sclite where it is installed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from signwave.errors import UserError
from slr.scoring import PROTOCOL_NAMES, Hypothesis, Reference, cleaning, read_hypotheses, read_references, score
from slr.scoring.protocols import choose

P14_ID, P14T_ID = "01April_2010_Thursday_heute_default-{}", "01April_2010_Thursday_heute-{}"


def references(*texts: str, name: str = "clip{}") -> dict[str, Reference]:
    return {name.format(n): Reference(text.split(), f"S{n % 2}") for n, text in enumerate(texts)}


def hypotheses(*texts: str, name: str = "clip{}") -> dict[str, Hypothesis]:
    return {name.format(n): Hypothesis(text.split()) for n, text in enumerate(texts)}


def counts(protocol: str, reference: str, hypothesis: str, name: str = "clip{}") -> tuple[int, ...]:
    found = score(
        hypotheses(hypothesis, name=name), references(reference, name=name), protocol=protocol, num_resamples=10
    )
    total = found.total
    return total.correct, total.substitutions, total.deletions, total.insertions


def test_repeats_count_where_the_protocol_keeps_them():
    found = {name: counts(name, "A B", "A A B") for name in PROTOCOL_NAMES}
    assert found == {
        "official-p14": (2, 0, 0, 1),
        "official-p14t": (2, 0, 0, 0),
        "slrt": (2, 0, 0, 1),  # no Phoenix ids: as they are
        "corrnet": (2, 0, 0, 0),
        "plain": (2, 0, 0, 1),
    }


def test_slrt_cleans_both_sides_by_the_rules_that_the_ids_name():
    assert counts("slrt", "A B REGEN REGEN qu-WAS", "A+B REGEN WAS", P14_ID) == (3, 0, 0, 0)
    assert counts("slrt", "__ON__ REGEN qu-WAS", "REGEN WAS", P14T_ID) == (1, 1, 0, 0)
    assert counts("official-p14", "qu-WAS", "qu-WAS", P14_ID) == (0, 1, 0, 0)  # the reference isn't cleaned


def test_sclite_ignores_case_and_the_others_do_not():
    assert {name: counts(name, "Regen", "REGEN")[0] for name in PROTOCOL_NAMES} == {
        "official-p14": 1,
        "official-p14t": 1,
        "slrt": 0,
        "corrnet": 0,
        "plain": 0,
    }
    assert counts("official-p14", "Ä", "ä") == (0, 1, 0, 0)  # sclite knows ASCII letters only


def test_an_empty_clip_is_one_wrong_word_for_the_scripts_and_no_word_elsewhere():
    assert counts("official-p14", "A B", "") == counts("corrnet", "A B", "") == (0, 1, 1, 0)
    assert counts("plain", "A B", "") == counts("slrt", "A B", "") == (0, 0, 2, 0)
    assert counts("official-p14t", "A B", "__ON__ __OFF__", P14T_ID) == (0, 1, 1, 0)


def test_missing_empty_emptied_and_extra_clips_are_counted_and_named():
    wanted = references("A", "B", "C", "D")
    given = {"clip0": Hypothesis(["A"]), "clip1": Hypothesis([]), "clip2": Hypothesis(["__PU__"]), "x": Hypothesis([])}
    found = score(given, wanted, protocol="official-p14", num_resamples=10)
    assert (found.missing, found.empty, found.emptied, found.extra) == (("clip3",), ("clip1",), ("clip2",), ("x",))
    document = found.to_dict()
    assert document["wer"] == 0.75
    assert (document["num_missing"], document["missing"], document["num_extra"]) == (1, ["clip3"], 1)
    assert "1 clips without a hypothesis, counted as empty: clip3" in found.summary()


def test_the_document_has_the_agreed_keys_and_is_json():
    document = score(hypotheses("A X"), references("A B"), num_resamples=10).to_dict()
    keys = (
        "protocol wer num_reference_tokens correct substitutions deletions insertions sentence_error_rate interval_95"
    )
    assert set(keys.split()) <= set(document)
    assert document["wer"] == 0.5
    assert document["alignment_costs"] == {"substitution": 4, "insertion": 3, "deletion": 3}
    json.dumps(document, allow_nan=False)


def test_times_that_the_script_would_reorder_are_told():
    given = {"clip0": Hypothesis(["NEUN", "ZEHN"], [("9.0", "1"), ("10.0", "1")])}
    found = score(given, references("NEUN ZEHN"), protocol="official-p14", num_resamples=10)
    assert found.total.num_errors == 2
    assert "sorts start times as text" in found.warnings[0]
    assert score(given, references("NEUN ZEHN"), num_resamples=10).wer == 0


def test_clusters_widen_the_interval_and_must_be_known():
    many = references(*["A B"] * 40, name=P14_ID)
    given = {clip: Hypothesis(["A", "X"] if n < 20 else ["A", "B"]) for n, clip in enumerate(many)}
    persons = {clip: Reference(r.tokens, "S1" if n < 20 else "S2") for n, (clip, r) in enumerate(many.items())}
    by_clip, by_person = (
        score(given, persons, cluster=cluster, num_resamples=500).interval for cluster in ("clip", "person")
    )
    assert by_person.high - by_person.low > by_clip.high - by_clip.low
    assert score(given, persons, cluster="broadcast", num_resamples=10).interval[:2] == (0.25, 0.25)
    with pytest.raises(UserError, match="names none"):
        score(given, persons, cluster="group", num_resamples=10)
    with pytest.raises(UserError, match="--cluster year: unknown"):
        score(given, persons, cluster="year", num_resamples=10)  # type: ignore[arg-type]


def test_what_cannot_be_compared_is_an_error_and_never_a_rate():
    with pytest.raises(
        UserError, match=r"names none of the 1 clips of the references, such as 'clip0'; it has 'other'"
    ):
        score({"other": Hypothesis(["A"])}, references("A"))
    with pytest.raises(UserError, match="it is empty"):
        score({}, references("A"))
    with pytest.raises(UserError, match="none of the 1 references has a gloss"):
        score(hypotheses("A"), references(""))
    with pytest.raises(UserError, match="--protocol nist: unknown; allowed are official-p14"):
        score(hypotheses("A"), references("A"), protocol="nist")
    with pytest.raises(UserError, match="holds a blank"):
        score({"a b": Hypothesis(["A"])}, {"a b": Reference(["A"])}, protocol="official-p14")


def test_all_chooses_every_protocol():
    assert tuple(protocol.name for protocol in choose(["all"])) == PROTOCOL_NAMES
    with pytest.raises(UserError, match="names none"):
        choose([","])


@pytest.mark.parametrize(
    ("split", "errors", "tokens", "percent"), [("SI", 333, 4554, 7.312253), ("US", 1430, 2596, 55.084746)]
)
def test_published_isharah_error_rates(split, errors, tokens, percent, shared_data):
    folder = shared_data / "sign/isharah"
    found = score(folder / f"predictions/{split}/dev.csv", folder / f"annotations_v2/{split}/dev.txt", num_resamples=10)
    assert (found.total.num_errors, found.total.num_reference) == (errors, tokens)
    assert round(100 * found.wer, 6) == percent


# Equality with sclite, over the whole chain: our cleaned CTM and the STM go to sclite, our counts come from `score`.


@pytest.fixture
def sclite() -> str:
    """NIST sclite 2.4.10 (Debian's package sctk keeps it in /usr/lib/sctk/bin)."""
    path = os.environ.get("SCLITE") or shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")
    if path is None:
        pytest.skip("no sclite; install Debian's package sctk, or name the program in SCLITE")
    return path


def run_sclite(program: str, ctm_lines: list[str], wanted: dict[str, Reference], folder: Path) -> tuple[int, ...]:
    """Correct, substitutions, deletions, insertions, sentences with an error."""
    by_clip: dict[str, list[str]] = {}
    for line in ctm_lines:
        by_clip.setdefault(line.split()[0], []).append(line)
    ids = sorted(wanted, key=str.encode)
    filled = [line for clip in ids for line in by_clip.get(clip, [f"{clip} 1 0.000 0.030 [EMPTY]"])]
    (folder / "h.ctm").write_text("\n".join(filled) + "\n", encoding="utf-8")
    stm = [f"{clip} 1 S 0.0 1.79769e+308 {' '.join(wanted[clip].tokens)}" for clip in ids]
    (folder / "r.stm").write_text("\n".join(stm) + "\n", encoding="utf-8")
    command = [program, "-h", "h.ctm", "ctm", "-r", "r.stm", "stm", "-f", "0", "-o", "rsum", "stdout"]
    shown = subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout.decode(errors="replace")
    numbers = re.findall(r"\d+", next(line for line in shown.splitlines() if "| Sum " in line))
    _, _, correct, substituted, deleted, inserted, _, sentences = map(int, numbers)
    return correct, substituted, deleted, inserted, sentences


def ours(given: dict[str, Hypothesis], wanted: dict[str, Reference], protocol: str) -> tuple[int, ...]:
    total = score(given, wanted, protocol=protocol, num_resamples=10).total
    return total.correct, total.substitutions, total.deletions, total.insertions, total.num_wrong_sentences


def lines_of(given: dict[str, Hypothesis], wanted: dict[str, Reference]) -> list[str]:
    return [line for clip in wanted if clip in given for line in given[clip].ctm_lines(clip)]


@pytest.mark.parametrize("split", ["SI", "US"])
def test_sclite_counts_real_hypotheses_alike(split, sclite, shared_data, tmp_path):
    folder = shared_data / "sign/isharah"
    wanted = read_references(folder / f"annotations_v2/{split}/dev.txt")
    given = read_hypotheses(folder / f"predictions/{split}/dev.csv")
    cleaned = cleaning.clean_p14(lines_of(given, wanted))
    assert run_sclite(sclite, cleaned, wanted, tmp_path) == ours(given, wanted, "official-p14")


@pytest.mark.parametrize(
    ("protocol", "stm"),
    [
        ("official-p14", "phoenix2014/phoenix2014-groundtruth-test.stm"),
        ("official-p14t", "phoenix2014T/PHOENIX-2014-T-groundtruth-test.stm"),
    ],
)
def test_sclite_counts_damaged_phoenix_references_alike(protocol, stm, sclite, shared_data, tmp_path):
    wanted = read_references(shared_data / "sign" / stm)
    given = damaged(wanted, seed=0)
    chain = cleaning.clean_p14 if protocol == "official-p14" else cleaning.clean_p14t
    cleaned = chain(lines_of(given, wanted))
    assert run_sclite(sclite, cleaned, wanted, tmp_path) == ours(given, wanted, protocol)


@pytest.mark.parametrize("protocol", ["official-p14", "official-p14t", "corrnet"])
def test_clips_cleaned_a_few_at_a_time_count_alike(protocol, monkeypatch):
    rng = random.Random(2)
    wanted = references(*[" ".join(rng.choices("ABCD", k=5)) for _ in range(60)], name=P14_ID)
    given = damaged(wanted, seed=1)
    whole = score(given, wanted, protocol=protocol, num_resamples=10)
    monkeypatch.setattr("slr.scoring.protocols._CLIPS_TOGETHER", 1)
    assert score(given, wanted, protocol=protocol, num_resamples=10) == whole


def damaged(wanted: dict[str, Reference], *, seed: int) -> dict[str, Hypothesis]:
    """References with errors, marks, repeats, clips of marks only and clips left out."""
    rng = random.Random(seed)
    stock = [token for reference in wanted.values() for token in reference.tokens]
    odd = ["loc-NORD", "qu-WAS", "REGEN-PLUSPLUS", "__PU__", "__ON__", "__LEFTHAND__", "NORDRAUM", "ZEIGEN", "A", "NN"]
    given = {}
    for clip, reference in wanted.items():
        tokens = []
        for token in reference.tokens:
            draw = rng.random()
            tokens += [rng.choice(odd)] if draw < 0.06 else [rng.choice(stock)] if draw < 0.14 else [token]
            tokens += [token] * (draw > 0.95)
            tokens = tokens[:-1] if 0.2 < draw < 0.28 else tokens
        if rng.random() > 0.02:
            given[clip] = Hypothesis(["__EMOTION__"] if rng.random() < 0.02 else tokens)
    return given
