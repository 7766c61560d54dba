"""Findings of the doctor on made-up machines."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from signwave import doctor


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Installed packages as this test wants them."""
    installed = {floor.package: floor.version for floor in doctor.FLOORS}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    return installed


def find(name: str, findings: list[doctor.Check]) -> doctor.Check:
    return next(finding for finding in findings if finding.name == name)


def test_a_machine_at_the_floors_is_usable(versions: dict[str, str], tmp_path: Path) -> None:
    findings = doctor.report(runs_dir=tmp_path / "runs" / "deep")
    assert doctor.is_usable(findings)
    assert find("torch trio", findings).status == "ok"
    assert find("temp and runs file system", findings).status == "ok"
    assert doctor.to_dict(findings)["usable"] is True


@pytest.mark.parametrize(
    ("package", "version", "said"),
    [
        ("pytorch-lightning", "2.6.5", "CVE-2026-58659"),
        ("transformers", "5.2.9", "CVE-2026-4372"),
        ("faiss-cpu", "1.9.0", "crafted index"),
        ("torch", "2.9.1", "CVE-2026-24747"),
    ],
)
def test_versions_below_their_floor_are_bad(versions: dict[str, str], package: str, version: str, said: str) -> None:
    versions[package] = version
    finding = find(package, doctor.report())
    assert finding.status == "bad"
    assert said in finding.detail
    assert finding.advice.startswith("pip install -U")


def test_missing_packages_are_bad_and_missing_options_are_not(versions: dict[str, str]) -> None:
    del versions["av"], versions["flashlight-text"]
    findings = doctor.report()
    assert find("av", findings).status == "bad"
    assert find("flashlight-text", findings).status == "missing"
    assert "signwave[lm]" in find("flashlight-text", findings).advice


def test_a_trio_that_does_not_belong_together(versions: dict[str, str]) -> None:
    versions["torchaudio"] = "2.11.1"
    assert find("torch trio", doctor.report()).status == "bad"
    versions.update(torchaudio="2.11.0", torchvision="0.27.0")
    assert find("torch trio", doctor.report()).status == "bad"
    versions.update(torchvision="0.26.0", torch="2.11.0+cpu")
    finding = find("torch trio", doctor.report())
    assert finding.status == "bad"
    assert "don't belong together: torch 2.11.0+cpu" in finding.detail


def test_decord_beside_decord2(versions: dict[str, str]) -> None:
    versions["decord"] = "0.6.0"
    finding = find("decord", doctor.report())
    assert finding.status == "bad"
    assert "shares its folder with decord2" in finding.detail
    del versions["decord"]
    assert not any(f.name == "decord" for f in doctor.report())


def test_a_runs_folder_without_write_permission(versions: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert find("runs folder", doctor.report()).status == "bad"


def test_text_is_aligned_and_names_the_way_out(versions: dict[str, str]) -> None:
    versions["av"] = "9.0"
    text = doctor.to_text(doctor.report())
    assert "    bad  av" in text
    assert "→ pip install -U 'av>=16'" in text


def test_version_numbers() -> None:
    assert doctor.version_tuple("2.11.0+cu128") == (2, 11, 0)
    assert doctor.version_tuple("5.23.0rc1") == (5, 23, 0)
    assert doctor.version_tuple("unknown") == ()


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, signwave.doctor, signwave.prepare as p; sys.exit(any(m in sys.modules for m in ('torch', 'av')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
