"""URIEL's distances are those of the reference table, by whatever code a language is named."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from asr.donors import typology
from asr.donors.typology import Uriel
from signwave.errors import ArtefactError, UserError

# Mean of the cosine distances of syntax, phonology and inventory (kNN-completed vectors of lang2vec 1.1.2).
GOLDEN = {
    "fas": {
        "tgk": 0.050, "bal": 0.090, "prs": 0.091, "ckb": 0.096, "pus": 0.122, "kmr": 0.139, "mlt": 0.196, "ara": 0.217,
        "ary": 0.219, "eng": 0.323, "ben": 0.339,
    },
    "arb": {
        "arz": 0.082, "ary": 0.132, "mlt": 0.137, "heb": 0.182, "tgk": 0.189, "kmr": 0.215, "pes": 0.217, "tur": 0.331,
        "uig": 0.358,
    },
    "ur": {
        "hi": 0.116, "pnb": 0.121, "snd": 0.135, "bn": 0.163, "prs": 0.190, "bal": 0.201, "ps": 0.204, "ckb": 0.207,
        "fa": 0.255, "am": 0.253, "ar": 0.293,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def uriel() -> Uriel:
    if not Uriel.is_there():
        pytest.skip("needs the extra 'donors' (lang2vec)")
    return Uriel.load()


@pytest.mark.parametrize("target", GOLDEN)
def test_the_table(uriel: Uriel, target: str) -> None:
    for donor, wanted in GOLDEN[target].items():
        assert uriel.distance(target, donor).mean == pytest.approx(wanted, abs=6e-4), donor


def test_a_distance_is_symmetric_and_zero_to_oneself(uriel: Uriel) -> None:
    there, back = uriel.distance("urd", "hin"), uriel.distance("hin", "urd")
    assert there == pytest.approx(back)
    assert there.mean == pytest.approx((there.syntax + there.phonology + there.inventory) / 3)
    assert there.family == 1.0
    itself = uriel.distance("fa", "pes")
    assert itself.mean == pytest.approx(0.0, abs=1e-12)
    assert uriel.distance("pes", "arb").family == 0.0
    assert {part: values.shape[1] for part, values in uriel.vectors.items()} == {
        "syntax": 103, "phonology": 28, "inventory": 158,
    }  # fmt: skip


def test_families_belong_to_the_right_language(uriel: Uriel) -> None:
    assert uriel.distance("pes", "tgk").family == pytest.approx(7 / 9)


def test_codes(uriel: Uriel) -> None:
    assert [uriel.code(given) for given in ("fa", "FA-IR", "fas", "pes", "ckb", "ar_EG")] == [
        "pes", "pes", "pes", "pes", "ckb", "arb",
    ]  # fmt: skip
    with pytest.raises(UserError, match="language 'qqq': URIEL has none"):
        uriel.code("qqq")


def test_without_the_package_and_with_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setattr(metadata, "distribution", missing)
        assert not Uriel.is_there()
        with pytest.raises(UserError, match=r"pip install 'signwave\[donors\]'"):
            Uriel.load()
    np.savez(tmp_path / "feature_predictions.npz", langs=np.array(["aaa"]))
    monkeypatch.setattr(typology, "_data_folder", lambda: tmp_path)
    with pytest.raises(ArtefactError, match=r"lang2vec 1\.1\.2"):
        Uriel.load()


def test_the_script_of_the_same_name_does_not_hide_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip puts lang2vec.py beside the command `asr`, whose folder is the first that Python imports from."""
    if not Uriel.is_there():
        pytest.skip("lang2vec is not installed")
    (tmp_path / "lang2vec.py").write_text("raise SystemExit('a script')")
    monkeypatch.syspath_prepend(tmp_path)
    assert Uriel.load().code("fa") == "pes"
