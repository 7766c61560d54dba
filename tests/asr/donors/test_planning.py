"""Donors are ranked by what is known, weighed by hours; the curve goes through its points."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from asr.cli import app
from asr.donors.gain import Curve, Point, fit, read_points
from asr.donors.overlap import letter_counts, phone_overlap, script_overlap
from asr.donors.planning import Evidence, Mixture, plan, sampling_weights
from asr.donors.report import to_text, to_tsv
from asr.donors.typology import Uriel
from signwave import command, manifest
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.media.audio import write_wav


def made_up_uriel() -> Uriel:
    """Three languages; a and b differ by an angle whose cosine is 0.8 in every part."""
    part = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    families = np.array([[True, True], [True, False], [False, False]])
    rows = {"aaa": 0, "bbb": 1, "ccc": 2}
    return Uriel(dict.fromkeys(("syntax", "phonology", "inventory"), part), families, ["p", "t"], rows, {"a": "aaa"})


def test_similarity_is_the_weighted_mean_of_what_is_known() -> None:
    evidence = Evidence(
        uriel=made_up_uriel(),
        atds={"bbb": 0.9, "ccc": 0.3},
        phones={"aaa": {"p", "t", "k"}, "bbb": {"p", "t"}, "ccc": {"q"}},
        letters={"aaa": Counter("abab"), "bbb": Counter("aabb"), "ccc": Counter("xyz")},
    )
    found = plan("aaa", ["ccc", "bbb", "aaa", "bbb"], evidence, mixture=Mixture(1, 2, 0.5, 0.5))
    assert [donor.language for donor in found.donors] == ["bbb", "ccc"]
    best = found.donors[0]
    assert best.typology is not None
    assert best.typology.mean == pytest.approx(0.2)
    assert best.typology.family == 0.5
    assert (best.atds, best.phones, best.script) == (0.9, pytest.approx(2 / 3), 1.0)
    assert best.similarity == pytest.approx((0.8 + 2 * 0.9 + 0.5 * 2 / 3 + 0.5) / 4)
    assert sum(donor.weight for donor in found.donors) == pytest.approx(1.0)


def test_what_is_missing_for_one_donor_counts_as_the_mean() -> None:
    found = plan("t", ["x", "y", "z"], Evidence(atds={"x": 0.9, "y": 0.5}))
    assert {d.language: d.similarity for d in found.donors} == pytest.approx({"x": 0.9, "z": 0.7, "y": 0.5})
    assert found.donors[1].atds is None
    unknown = plan("aaa", ["bbb", "no such"], Evidence(uriel=made_up_uriel()))
    assert {d.language: d.typology is None for d in unknown.donors} == {"bbb": False, "no such": True}


@pytest.mark.parametrize(
    ("candidates", "evidence", "message"),
    [([], Evidence(), "no donor"), (["t"], Evidence(), "no donor"), (["x"], Evidence(), "nothing is known")],
)
def test_nothing_to_rank_is_said(candidates: list[str], evidence: Evidence, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan("t", candidates, evidence)


def test_weights_follow_the_formula() -> None:
    similarity, hours = {"x": 0.9, "y": 0.8, "z": 0.9}, {"x": 100.0, "y": 400.0}
    found = sampling_weights(similarity, hours, Mixture(temperature=0.2, hours_power=0.5))
    raw = [10 * math.exp(0.9 / 0.2), 20 * math.exp(0.8 / 0.2), 0.0]
    assert list(found.values()) == pytest.approx([value / sum(raw) for value in raw])
    alike = sampling_weights(similarity, {}, Mixture(temperature=1000.0))
    assert list(alike.values()) == pytest.approx([1 / 3] * 3, abs=1e-3)
    sharp = sampling_weights({"x": 0.9, "y": 0.5}, {"x": 1.0, "y": 1000.0}, Mixture(temperature=0.001))
    assert sharp["x"] == pytest.approx(1.0)


@pytest.mark.parametrize("values", [{"temperature": 0.0}, {"hours_power": 1.5}, {"atds": -1.0}])
def test_impossible_mixtures_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"need temperature|weights of evidence"):
        Mixture(**values)


def test_overlap_of_phones_and_scripts() -> None:
    assert phone_overlap(set(), set()) == 0.0
    persian, urdu, english = letter_counts(["گل سرخ"]), letter_counts(["گل ہے"]), letter_counts(["Rose, ROSE!"])
    assert english == {"r": 2, "o": 2, "s": 2, "e": 2}
    assert script_overlap(persian, persian) == pytest.approx(1.0)
    assert 0 < script_overlap(persian, urdu) < 1
    assert script_overlap(persian, english) == script_overlap(persian, {}) == 0.0
    assert letter_counts(["e\u0301"]) == letter_counts(["\u00e9"])  # one letter, whichever way it is written


@pytest.mark.parametrize("truth", [Curve(0.1, 0.3, 0.5, 0), Curve(0.0, 0.5, 0.2, 0), Curve(0.2, 0.2, 1.5, 0)])
def test_a_curve_is_found_again_from_its_points(truth: Curve) -> None:
    points = [Point(hours, truth.error(hours)) for hours in (0, 1, 5, 20, 100, 500, 3000)]
    found = fit(points)
    assert found.residual < 1e-3
    for hours in (0, 3, 50, 10_000):
        assert found.error(hours) == pytest.approx(truth.error(hours), abs=0.01)


def test_noise_more_hours_that_do_not_help_and_two_points() -> None:
    rng = np.random.default_rng(0)
    truth = Curve(0.1, 0.3, 0.4, 0)
    found = fit(
        [Point(hours, truth.error(hours) + 0.005 * rng.standard_normal()) for hours in np.geomspace(0.5, 2000, 30)]
    )
    assert found.error(100) == pytest.approx(truth.error(100), abs=0.01)
    worse = fit([Point(0, 0.2), Point(10, 0.25), Point(100, 0.3)])  # never rises: the best it can say is the mean
    assert worse.error(0) == pytest.approx(worse.error(1000)) == pytest.approx(0.25)
    two = fit([Point(0, 0.4), Point(99, 0.2)])
    assert (two.floor, two.error(0), two.error(99)) == (0.0, pytest.approx(0.4, abs=2e-3), pytest.approx(0.2, abs=2e-3))
    with pytest.raises(UserError, match="at least two different"):
        fit([Point(3, 0.2), Point(3, 0.3)])
    with pytest.raises(UserError, match="got 0"):
        fit([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "needs a header"), ("hours,wer\n", "needs a header"),
        ("hours,wer\n1,0.3\nx,0.2\n", r"points\.csv:3: hours 'x'"),
        ("hours,wer\n1,30\n", "as a fraction"), ("hours,wer\n-1,0.3\n", "hours >= 0"),
    ],
)  # fmt: skip
def test_measured_runs_are_checked(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_points(tmp_path / "points.csv")
    with pytest.raises(UserError, match="can't be read"):
        read_points(tmp_path / "none.csv")


def test_the_curve_gives_every_donor_an_expected_error() -> None:
    curve = Curve(0.1, 0.3, 0.5, 0.0)
    found = plan("t", ["x", "y"], Evidence(atds={"x": 0.5, "y": 0.4}, hours={"x": 98.0}), curve=curve)
    assert [donor.expected_error for donor in found.donors] == [pytest.approx(0.1 + 0.3 / math.sqrt(50)), None]
    assert "error = 0.1000 + 0.3000 * (1 + hours) ** -0.500" in to_text(found)
    table = [line.split("\t") for line in to_tsv(found).splitlines()]
    assert [row[0] for row in table] == ["donor", "x", "y"]
    assert len({len(row) for row in table}) == 1


def run_command(*arguments: str) -> int:
    return command.run(lambda **options: app(["donors", *arguments], **options))


def test_the_command_on_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for language, text in (("qaa", "سلام دنیا"), ("qab", "سلام"), ("qac", "hello")):
        clips = []
        for number in range(3):
            noise = np.cumsum(rng.standard_normal(32_000)) / 500
            path = write_wav(tmp_path / f"{language}{number}.wav", noise.astype(np.float32))
            clips.append(
                Clip(id=path.stem, path=str(path), kind="audio", num_frames=32_000, rate_hz=16_000.0, text=text)
            )
        if language == "qac":
            clips.append(Clip(id="gone", path=str(tmp_path / "gone.wav"), kind="audio"))
        manifest.write(tmp_path / f"{language}.jsonl", clips)
    (tmp_path / "a.txt").write_text("p t k\nq")
    (tmp_path / "b.txt").write_text("p t")
    speech = [part for code in ("qaa", "qab", "qac") for part in ("--speech", f"{code}={tmp_path / code}.jsonl")]
    phones = ["--phones", f"qaa={tmp_path / 'a.txt'}", "--phones", f"qab={tmp_path / 'b.txt'}"]
    out = tmp_path / "donors.tsv"
    code = run_command("--target", "qaa", *speech, *phones, "--hours", "qac=12.5", "--json", "-o", str(out), "-q")
    told = capsys.readouterr()
    assert code == 3
    assert "gone.wav" in told.err
    found = {donor["language"]: donor for donor in json.loads(told.out)["donors"]}
    assert found["qab"]["hours"] == pytest.approx(6 / 3600)
    assert found["qac"]["hours"] == 12.5
    assert found["qab"]["phones"] == 0.5
    assert found["qab"]["script"] > found["qac"]["script"] == 0.0
    assert all(0 < donor["atds"] <= 1 for donor in found.values())
    assert out.read_text().startswith("donor\tsimilarity\tweight")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hours", "ckb"], "--hours ckb: expected LANGUAGE=VALUE"),
        (["--hours", "ckb=x"], "--hours ckb=x"), (["--hours", "ckb=nan"], "--hours ckb=nan"),
        (["--speech", "ckb=none.jsonl"], "no such manifest"), (["--phones", "ckb=none.txt"], "can't be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("--target", "fas", *arguments) == 1
    assert message in capsys.readouterr().err


def test_a_target_alone_gives_the_closest_with_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    if not Uriel.is_there():
        assert run_command("--target", "fas") == 1
        assert "signwave[donors]" in capsys.readouterr().err
        return
    assert run_command("--target", "fas", "--json") == 0
    donors = json.loads(capsys.readouterr().out)["donors"]
    assert [donor["language"] for donor in donors[:3]] == ["tgk", "ckb", "pbu"]
    assert len(donors) == 20
