"""What this machine can do and what is missing: versions with security floors, the torch trio, GPU, file systems.

Nothing heavy is imported: versions come from the package metadata. Only the GPU check asks torch.
"""

import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

CheckStatus = Literal["ok", "warning", "missing", "bad"]


class Check(NamedTuple):
    """One finding. "bad" must be mended, "warning" should be, "missing" is an option that isn't installed."""

    name: str
    status: CheckStatus
    detail: str
    advice: str = ""


class Floor(NamedTuple):
    """The lowest version of a package that is safe or works, and why.

    `extra` is the extra of this distribution that brings an optional package, or "-" where none does.
    """

    package: str
    version: str
    why: str
    extra: str = ""


FLOORS = (
    Floor("torch", "2.11.0", "released together with torchaudio 2.11; CVE-2026-24747 below 2.10"),
    Floor("torchvision", "0.26.0", "released together with torch 2.11"),
    Floor("torchaudio", "2.11.0", "released together with torch 2.11"),
    Floor("pytorch-lightning", "2.6.6", "CVE-2026-58659: an older one runs code from a checkpoint"),
    Floor("transformers", "5.3", "CVE-2026-4372: an older one runs code from a model folder"),
    Floor("omegaconf", "2.4", "frozen dataclasses and Literal"),
    Floor("numpy", "2", "the arrays of all other packages"),
    Floor("faiss-cpu", "1.15", "an older one overruns memory on a crafted index"),
    Floor("av", "16", "FFmpeg with CVE-2026-40962 mended from 18 on"),
    Floor("decord2", "3.4", "current FFmpeg"),
    Floor("soundfile", "0.13", "mp3 and opus"),
    Floor("flashlight-text", "0.0.7", "beam search with a language model", "lm"),
    Floor("pose-format", "0.15", ".pose files", "poses"),
    Floor("sentencepiece", "0.2.1", "CVE-2026-1260: an older one overruns memory on a crafted model", "-"),
    Floor("espeakng-loader", "0.2.4", "synthesised speech", "tts"),
    Floor("silero-vad", "6.2.3", "voice detection of `asr collect`", "curation"),
    Floor("tensorboard", "2.18", "training curves in the browser", "tensorboard"),
)
_TRIO = {"torch": (2, 11, 0), "torchvision": (0, 26, 0), "torchaudio": (2, 11, 0)}
_MIN_FREE_GB = 5.0


def report(*, runs_dir: str | Path = "runs") -> list[Check]:
    """Return all findings about this machine.

    Args:
        runs_dir: where run folders are written; need not exist yet.
    """
    checks: list[Callable[[], Sequence[Check]]] = [
        _python,
        lambda: [_package(floor) for floor in FLOORS],
        _trio,
        _decord_twins,
        _hydra,
        _gpu,
        _ffmpeg,
        lambda: _file_systems(Path(runs_dir)),
    ]
    return [finding for check in checks for finding in check()]


def is_usable(findings: Sequence[Check]) -> bool:
    """Whether nothing has to be mended."""
    return all(finding.status != "bad" for finding in findings)


def to_dict(findings: Sequence[Check]) -> dict[str, Any]:
    """Return the findings as plain values, for --json."""
    return {"usable": is_usable(findings), "checks": [finding._asdict() for finding in findings]}


def to_text(findings: Sequence[Check]) -> str:
    """Return the findings as aligned lines for people."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:>7}  {finding.name:<{width}}  {finding.detail}".rstrip())
        if finding.advice:
            lines.append(f"{'':>7}  {'':<{width}}  → {finding.advice}")
    return "\n".join(lines)


def version_tuple(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, the local and pre-release parts left out.

    >>> version_tuple("2.11.0+cu128"), version_tuple("0.2rc1")
    ((2, 11, 0), (0, 2))
    """
    numbers = []
    for part in version.partition("+")[0].split("."):
        match = re.match(r"\d+", part)
        if match is None:
            break
        numbers.append(int(match.group()))
    return tuple(numbers)


def _installed(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _python() -> list[Check]:
    version = platform.python_version()
    detail = f"{version} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return [Check("python", "ok", detail)]
    return [Check("python", "bad", detail, "use Python 3.10 to 3.12: flashlight-text has no wheels for others")]


def _package(floor: Floor) -> Check:
    version = _installed(floor.package)
    if version is None:
        if floor.extra:
            wanted = f"{floor.package}>={floor.version}" if floor.extra == "-" else f"signwave[{floor.extra}]"
            return Check(floor.package, "missing", floor.why, f"pip install '{wanted}' if you need it")
        return Check(floor.package, "bad", "not installed", f"pip install '{floor.package}>={floor.version}'")
    if version_tuple(version) < version_tuple(floor.version):
        advice = f"pip install -U '{floor.package}>={floor.version}'"
        return Check(floor.package, "bad", f"{version} is below {floor.version}: {floor.why}", advice)
    return Check(floor.package, "ok", version)


def _trio() -> list[Check]:
    versions = {name: _installed(name) for name in _TRIO}
    if None in versions.values():
        return []
    detail = ", ".join(f"{name} {version}" for name, version in versions.items())
    matches = all(version_tuple(str(version)) == _TRIO[name] for name, version in versions.items())
    builds = {str(version).partition("+")[2] for version in versions.values()}
    if not matches or len(builds) > 1:
        advice = "pip install torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0, all from one index"
        return [Check("torch trio", "bad", f"don't belong together: {detail}", advice)]
    return [Check("torch trio", "ok", detail)]


def _decord_twins() -> list[Check]:
    old = _installed("decord")
    if old is None:
        return []
    advice = "pip uninstall -y decord decord2 && pip install 'decord2>=3.4'"
    detail = f"decord {old} holds FFmpeg 4.1 of 2018 with known holes"
    if _installed("decord2") is not None:
        detail += ", and it shares its folder with decord2: which one is imported is chance"
    return [Check("decord", "bad", detail, advice)]


def _hydra() -> list[Check]:
    version = _installed("hydra-core")
    if version is None:
        return []
    return [
        Check("hydra-core", "warning", f"{version} pins omegaconf below 2.4", "keep it in an environment of its own")
    ]


def _gpu() -> list[Check]:
    if importlib.util.find_spec("torch") is None:
        return []
    try:
        import torch

        if not torch.cuda.is_available():
            return [Check("gpu", "missing", "torch sees none; everything runs on the processor")]
        names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    except (ImportError, OSError, RuntimeError) as error:
        return [Check("gpu", "bad", f"torch doesn't load: {error}", "install the torch trio again, all from one index")]
    detail = ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in names)
    return [Check("gpu", "ok", f"{detail}, CUDA {torch.version.cuda}")]


def _ffmpeg() -> list[Check]:
    path = shutil.which("ffmpeg")
    if path is None:
        return [Check("ffmpeg", "ok", "no command of this name; not needed, PyAV brings its own libraries")]
    return [Check("ffmpeg", "ok", f"{path}; not used, PyAV brings its own libraries")]


def _file_systems(runs_dir: Path) -> list[Check]:
    existing = next(folder for folder in (runs_dir.absolute(), *runs_dir.absolute().parents) if folder.exists())
    temporary = Path(tempfile.gettempdir())
    checks = []
    for name, folder in (("runs folder", existing), ("temp folder", temporary)):
        free_gb = shutil.disk_usage(folder).free / 1e9
        writable = os.access(folder, os.W_OK)
        status: CheckStatus = "bad" if not writable else "warning" if free_gb < _MIN_FREE_GB else "ok"
        advice = "" if status == "ok" else "choose a folder that can be written and has room"
        checks.append(Check(name, status, f"{folder}: {free_gb:.1f} GB free", advice))
    same = existing.stat().st_dev == temporary.stat().st_dev
    detail = "the same" if same else "differ; files are renamed within the runs folder, so that is safe here"
    checks.append(Check("temp and runs file system", "ok", detail))
    return checks
