"""From what was seen of two dictionaries to the rows: languages whose truth is known, and each rule by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from slr.crosslingual.building import Dictionaries, Evidence, Rules, decide, weigh
from slr.crosslingual.map_scores import compare, coverage, read_truth
from slr.crosslingual.mapping import MappedSign, Mapping
from slr.crosslingual.methods import Choice, FloatArray
from slr.crosslingual.segments import BLANK_GLOSS
from slr.crosslingual.signs import Sign, Signs
from slr.isolated.infer import Seen

TARGETS = ("W", "X", "Y", "Z")
_DIM = 16


def _signs(name: str, glosses: Sequence[str]) -> Signs:
    clips = [Clip(id=f"{name}{n}", path="x.pose", kind="pose", num_frames=9, rate_hz=25.0) for n in range(len(glosses))]
    return Signs(name, [Sign(clip, gloss) for clip, gloss in zip(clips, glosses, strict=True)], "0" * 64, "file")


def _directions() -> FloatArray:
    return np.random.default_rng(0).normal(size=(8, _DIM))


def _world(
    auxiliary: dict[str, int], *, size: int = 6, sizes: dict[str, int] | None = None, seed: int = 0
) -> Dictionaries:
    """A target language of four glosses, and an auxiliary gloss in the direction of a place of `_directions`.

    The classifier of the target says of a sign the nearest of its own four directions, the blank hardly ever.
    """
    rng, directions = np.random.default_rng(seed), _directions()

    def made(names: dict[str, int]) -> tuple[list[str], FloatArray]:
        glosses = [name for name in names for _ in range((sizes or {}).get(name, size))]
        return glosses, np.stack([directions[names[name]] for name in glosses]) + 0.2 * rng.normal(
            size=(len(glosses), _DIM)
        )

    glosses, embeddings = made(auxiliary)
    target_glosses, target_embeddings = made({name: place for place, name in enumerate(TARGETS)})
    logits = np.concatenate([np.full((len(glosses), 1), -4.0), embeddings @ directions[:4].T / 2], axis=1)
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    empty = np.zeros((len(target_glosses), 5), np.float32)
    return Dictionaries(
        _signs("aux", glosses), Seen(embeddings.astype(np.float32), {"dgs": log_probs.astype(np.float32)}, {}),
        _signs("dgs", target_glosses), Seen(target_embeddings.astype(np.float32), {"dgs": empty}, {}),
        "dgs", (BLANK_GLOSS, *TARGETS),
    )  # fmt: skip


def _blind(found: Dictionaries, places: Sequence[int], *, target: bool = False) -> Dictionaries:
    """The same, but some signs couldn't be read."""
    old = found.seen_target if target else found.seen_auxiliary
    embeddings, log_probs = old.embeddings.copy(), {key: rows.copy() for key, rows in old.log_probs.items()}
    embeddings[list(places)] = np.nan
    for rows in log_probs.values():
        rows[list(places)] = np.nan
    seen = Seen(embeddings, log_probs, dict.fromkeys(places, "broken"))
    return found._replace(seen_target=seen) if target else found._replace(seen_auxiliary=seen)


def _rows(found: Dictionaries, **rules: Any) -> dict[str, MappedSign]:
    chosen = Rules(**rules)
    return {row.source: row for row in decide(weigh(found, rules=chosen), rules=chosen)}


# From signs to evidence


def test_shared_signs_are_found_by_all_three_and_others_are_not_kept() -> None:
    found = _world({"A": 2, "B": 0, "C": 3, "D": 5, "E": 6})
    rows = _rows(found)
    assert {name: row.target for name, row in rows.items() if row.keep} == {"A": "Y", "B": "W", "C": "Z"}
    assert all(rows[name].agreement == 3 and rows[name].mutual for name in "ABC")
    assert all(rows[name].agreement < 3 and rows[name].answers["transport"] is None for name in "DE")
    # The classifier must say something of signs that its language doesn't have; the paper's rule takes it.
    alone = _rows(found, method="posterior")
    assert {name for name, row in alone.items() if row.keep} == {"A", "B", "C", "D", "E"}
    for method in ("prototype", "transport"):
        kept = {name for name, row in _rows(found, method=method, min_score=0.0).items() if row.keep}
        assert kept >= {"A", "B", "C"}
    assert {name for name, row in _rows(found, method="transport").items() if row.keep} == {"A", "B", "C"}


def test_means_and_support_are_those_of_the_readable_signs() -> None:
    found = _blind(_world({"B": 0, "A": 2}), [0, 1, 7])
    evidence = weigh(found, rules=Rules())
    assert evidence.sources == ("A", "B")
    assert evidence.targets == TARGETS
    assert evidence.support.tolist() == [5, 4]
    log_probs = found.seen_auxiliary.log_probs["dgs"].astype(np.float64)
    for place, mine in enumerate(([6, 8, 9, 10, 11], [2, 3, 4, 5])):
        wanted = sum(np.exp(log_probs[n]) for n in mine) / len(mine)
        assert evidence.posteriors[place] == pytest.approx(wanted, abs=1e-6)


def test_blanks_and_glosses_that_the_classifier_lacks_change_nothing() -> None:
    found = _world({"A": 2, "B": 0})
    wanted = _rows(found)

    def more(signs: Signs, seen: Seen, gloss: str) -> tuple[Signs, Seen]:
        longer = _signs(signs.name, [*(sign.gloss for sign in signs.signs), gloss])
        rows = {name: np.vstack([row, row[:1]]) for name, row in seen.log_probs.items()}
        return longer, Seen(np.vstack([seen.embeddings, -seen.embeddings[:1]]), rows, {})

    auxiliary, seen_auxiliary = more(found.auxiliary, found.seen_auxiliary, BLANK_GLOSS)
    target, seen_target = more(found.target, found.seen_target, "RARE")
    other = found._replace(
        auxiliary=auxiliary, seen_auxiliary=seen_auxiliary, target=target, seen_target=seen_target
    )  # fmt: skip
    assert _rows(other) == wanted


def test_answers_do_not_depend_on_the_scale_of_embeddings() -> None:
    found = _world({"A": 2, "B": 0, "C": 5})
    evidence = weigh(found, rules=Rules())

    def scaled(seen: Seen, factor: float) -> Seen:
        return seen._replace(embeddings=(factor * seen.embeddings).astype(np.float32))

    other = weigh(
        found._replace(
            seen_auxiliary=scaled(found.seen_auxiliary, 70), seen_target=scaled(found.seen_target, 0.01)
        ), rules=Rules(),
    )  # fmt: skip
    assert other.similarities == pytest.approx(evidence.similarities, abs=1e-5)
    for name, choice in evidence.choices.items():
        assert other.choices[name].targets.tolist() == choice.targets.tolist()
        assert other.choices[name].scores == pytest.approx(choice.scores, abs=1e-5)


def test_transport_does_not_depend_on_how_many_signs_a_gloss_has() -> None:
    """A gloss of 400 signs and its counterpart of 5: by frequency the one had no room in the other."""
    auxiliary, sizes = {"A": 2, "B": 0, "C": 3, "D": 5, "E": 6}, {"A": 400, "Y": 5, "B": 5, "W": 100}
    even, uneven = (
        weigh(_world(auxiliary, sizes=some), rules=Rules()).choices["transport"] for some in (None, sizes)
    )  # fmt: skip
    assert uneven.targets.tolist() == even.targets.tolist() == [2, 0, 3, -1, -1]
    assert uneven.scores == pytest.approx(even.scores, abs=0.06)


def test_a_gloss_that_could_not_be_read_says_nothing() -> None:
    # The first of either language: what isn't there must not look alike.
    found = _blind(_blind(_world({"A": 0, "B": 1, "C": 2}), range(6)), range(6), target=True)
    rows = _rows(found, min_support=1)
    row = rows["A"]
    assert (row.target, row.keep, row.support, row.mutual, row.agreement) == (None, False, 0, False, 0)
    assert (row.answers, row.candidates) == (dict.fromkeys(("posterior", "prototype", "transport")), ())
    assert np.isnan([row.score, row.margin, row.split_half]).all()
    assert list(rows)[-1] == "A", "the surest first"
    assert [rows[name].target for name in "BC"] == ["X", "Y"]
    assert [rows[name].agreement for name in "BC"] == [3, 3]


def test_a_language_of_one_gloss_has_the_classifier_alone() -> None:
    found = _world({"A": 2})
    with pytest.raises(UserError, match=r"could be seen: 1 of aux, 4 of dgs; prototypes .*\(--method posterior\)"):
        weigh(found, rules=Rules())
    for rules in (Rules(method="prototype"), Rules(method="transport"), Rules(method="posterior", mutual_only=True)):
        with pytest.raises(UserError, match="need two of each"):
            weigh(found, rules=rules)
    for method, agreement in (("posterior", 3), ("agree", 1)):
        row = _rows(found, method=method, min_agreement=agreement)["A"]
        assert (row.target, row.keep, row.agreement) == ("Y", True, 1)
        assert row.answers == {"posterior": "Y", "prototype": None, "transport": None}
    blind = _blind(_world({"A": 2, "B": 0}), range(len(TARGETS) * 6), target=True)
    assert _rows(blind, method="posterior")["A"].target == "Y", "the classifier needs no clip of its own language"


def test_nothing_seen_is_told_with_a_reason() -> None:
    found = _world({"A": 2, "B": 0})
    with pytest.raises(UserError, match=r"could be seen: 0 of aux, 4 of dgs; .* can be read: broken"):
        weigh(_blind(found, range(12)), rules=Rules(method="posterior"))
    blanks = _signs("aux", [BLANK_GLOSS] * 12)
    with pytest.raises(UserError, match="it has none but blanks"):
        weigh(found._replace(auxiliary=blanks), rules=Rules(method="posterior"))


# From evidence to rows

MADE = Evidence(
    sources=("A",),
    targets=("W", "X", "Y"),
    posteriors=np.asarray([[0.1, 0.5, 0.3, 0.1]]),
    similarities=np.zeros((1, 3)),
    choices={},
    support=np.asarray([9]),
    halves=np.asarray([0.9]),
    gaps=np.asarray([[0.1, 0.2, 0.4]]),
)


def _decide(answers: Sequence[int], evidence: Evidence = MADE, **rules: Any) -> MappedSign:
    """The row of a gloss of which the posteriors, prototypes and transport say this."""
    choices = {
        name: Choice(np.asarray([answer]), np.zeros((1, 3)))
        for name, answer in zip(("posterior", "prototype", "transport"), answers, strict=True)
    }
    (row,) = decide(evidence._replace(choices=choices), rules=Rules(**rules))
    return row


@pytest.mark.parametrize(
    ("answers", "target", "agreement"),
    [
        ((0, 0, 0), "W", 3), ((0, 0, -1), "W", 2), ((0, 0, 1), "W", 2), ((0, 1, 1), "X", 2), ((-1, 1, 1), "X", 2),
        ((0, 1, 2), "W", 1), ((0, -1, -1), "W", 1), ((-1, 1, 2), "X", 1), ((-1, -1, 2), "Y", 1),
        ((-1, -1, -1), None, 0),
    ],
)  # fmt: skip
def test_the_methods_vote(answers: tuple[int, ...], target: str | None, agreement: int) -> None:
    rules: dict[str, Any] = {"min_score": 0.0}
    for least in (1, 2, 3):
        row = _decide(answers, min_agreement=least, **rules)
        assert (row.target, row.agreement) == (target, agreement)
        assert row.keep == (agreement >= least)
    assert _decide(answers, **rules).keep == (agreement == 3), "all of them is the default"


def test_a_method_alone_needs_no_agreement() -> None:
    for place, method in enumerate(("posterior", "prototype", "transport")):
        row = _decide((0, 1, 2), method=method, min_score=0.0)
        assert (row.target, row.keep, row.agreement) == (MADE.targets[place], True, 1)
        assert not _decide([-1 if n == place else 0 for n in range(3)], method=method, min_score=0.0).keep


def test_score_and_margin_are_of_the_row_s_target() -> None:
    first = _decide((0, 0, 0))
    assert (first.score, first.margin) == pytest.approx((0.5, 0.2))
    second = _decide((0, 1, 1))
    assert (second.score, second.margin) == pytest.approx((0.3, -0.2)), "another is likelier"
    nobody = _decide((-1, -1, -1))
    assert nobody.target is None
    assert (nobody.score, nobody.margin) == pytest.approx((0.5, 0.2)), "those of the best"
    assert first.candidates == (("W", 0.5), ("X", 0.3), ("Y", 0.1))
    single = MADE._replace(targets=("W",), posteriors=np.asarray([[0.2, 0.8]]))
    assert _decide((0, 0, 0), single).margin == pytest.approx(0.8)


def test_each_rule_by_itself() -> None:
    assert _decide((0, 0, 0)).keep
    assert _decide((0, 0, 0), min_score=0.5).keep
    assert not _decide((0, 0, 0), min_score=0.51).keep
    assert _decide((0, 0, 0), min_support=9).keep
    assert not _decide((0, 0, 0), min_support=10).keep
    assert _decide((0, 0, 0), min_split_half=0.9).keep
    assert not _decide((0, 0, 0), min_split_half=0.91).keep
    assert _decide((0, 0, 0), method="posterior", min_split_half=0.91).keep, "the paper knows no halves"
    assert _decide((0, 0, 0), MADE._replace(halves=np.asarray([np.nan])), min_split_half=0.91).keep
    assert _decide((0, 0, 1), mutual_only=True, min_agreement=2).keep
    assert not _decide((0, 1, 0), mutual_only=True, min_agreement=2).keep
    assert (_decide((0, 0, 1)).mutual, _decide((0, 1, 0)).mutual) == (True, False)


def test_a_pair_as_far_apart_as_different_signs_is_not_kept() -> None:
    row = _decide((2, 2, 2), min_score=0.0, max_gap=0.3)
    assert (row.target, row.gap, row.keep) == ("Y", 0.4, False)
    assert _decide((2, 2, 2), min_score=0.0, max_gap=0.4).keep
    assert _decide((2, 2, 2), min_score=0.0, max_gap=0.3, method="posterior").keep, "the paper knows no distances"
    unknown = MADE._replace(gaps=np.full((1, 3), np.nan))
    assert _decide((0, 0, 0), unknown).keep


def test_a_target_that_a_table_writes_as_none_is_none() -> None:
    row = _decide((0, 0, 0), MADE._replace(targets=("-", "X", "Y")))
    assert (row.target, row.keep, row.mutual, row.agreement) == (None, False, False, 0)


def test_rules_that_make_no_sense() -> None:
    for least in (0, 4):
        with pytest.raises(ValueError, match="min_agreement must be 1, 2 or 3"):
            Rules(min_agreement=least)
    with pytest.raises(ValueError, match="num_neighbours must be at least 1"):
        Rules(num_neighbours=0)


# Measures


def _mapping(**targets: str) -> Mapping:
    return Mapping(
        tuple(MappedSign(source, target.strip("?"), "?" not in target) for source, target in targets.items())
    )


def test_coverage_counts_tokens() -> None:
    signs = _signs("aux", ["A", "A", "A", BLANK_GLOSS, "B", "C", "C", BLANK_GLOSS, "D"]).signs
    found = coverage(_mapping(A="X", B="X", C="Y?", OTHER="Z"), signs)
    assert (found.num_glosses, found.num_mapped, found.num_tokens, found.num_mapped_tokens) == (4, 2, 7, 4)
    assert found.tokens == pytest.approx(4 / 7)
    assert found.num_shared_targets == 1
    assert coverage(Mapping(()), []).tokens == 0


def test_precision_and_recall() -> None:
    truth = {"A": {"X", "V"}, "B": {"Y"}, "C": {"Z"}, "UNSEEN": {"W"}}
    found = compare(_mapping(A="V", B="Z", C="Z?", D="Q", OTHER="X"), truth, sources=["A", "B", "C", "D"])
    assert (found.num_kept, found.num_right, found.num_shared) == (3, 1, 3)
    assert (found.precision, found.recall) == pytest.approx((1 / 3, 1 / 3))
    assert compare(Mapping(()), {}, sources=["A"]).to_dict()["precision"] == 0


def test_truth_is_read_and_mistakes_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "truth.tsv"
    path.write_bytes('\ufeffaux\ttarget\r\nA\tX\r\n# a note\r\n\r\nA\t V \r\n"B ""1"""\tY\tmore\r\n'.encode())
    assert read_truth(path) == {"A": {"X", "V"}, 'B "1"': {"Y"}}
    for text, line in (("h\th\nA\tX\n# note\nB\n", 4), ("h\th\nA,X\n", 2), ("h\th\n\n\tX\n", 3), ("h\th\nA\t\n", 2)):
        path.write_text(text)
        with pytest.raises(ManifestError, match=rf"truth\.tsv:{line}: needs an auxiliary gloss and a target gloss"):
            read_truth(path)
    for text in ("", "source\ttarget\n"):
        path.write_text(text)
        with pytest.raises(ManifestError, match="holds no pair; give a heading"):
            read_truth(path)
    path.write_bytes(b"\xff\xfe\x00")
    for wrong in (path, tmp_path / "none.tsv", tmp_path):
        with pytest.raises(ManifestError, match="can't be read"):
            read_truth(wrong)


def test_every_rule_is_a_plain_value() -> None:
    """They are written into the header of the table."""
    assert all(isinstance(value, (str, int, float, bool)) for value in dataclasses.asdict(Rules()).values())
    assert dataclasses.asdict(Rules())["min_agreement"] == 3
