"""Files that are whole or absent: atomic writes, checksums, and the layout of a run folder."""

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from signwave import __version__
from signwave.errors import ArtefactError

_TEMPORARY_PREFIX = ".tmp-"
_PACKAGES = ("torch", "torchvision", "torchaudio", "pytorch-lightning", "transformers", "numpy", "av", "faiss-cpu")


def _fsync_dir(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is flushed and renamed to `path`, else removed.

    A reader sees the old file or the new one, never a part, also after a power cut or `kill -9`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{_TEMPORARY_PREFIX}{target.name}-", dir=target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error  # the temporary name tells nobody anything
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private; a run folder is shared
        os.replace(temporary, target)
        _fsync_dir(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write a whole file at once; text is UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sweep_temporaries(folder: str | Path) -> int:
    """Delete what killed writers left in a folder; returns how many files that were."""
    leftovers = [p for p in Path(folder).glob(f"{_TEMPORARY_PREFIX}*") if p.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def write_json(path: str | Path, value: Any) -> None:
    """Write readable JSON, atomically. NaN and infinity are refused: no other reader accepts them."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or broken one is an ArtefactError that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"{path}: {error.strerror or error}; check the path") from error
    except ValueError as error:
        raise ArtefactError(f"{path}: not valid JSON ({error}); it was not written by this toolkit") from error


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class RunDir:
    """The layout of `runs/NAME`: every file of a run has one place."""

    path: Path

    @property
    def config_yaml(self) -> Path:
        return self.path / "config.yaml"

    @property
    def env_json(self) -> Path:
        return self.path / "env.json"

    @property
    def metrics_csv(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def results_json(self) -> Path:
        return self.path / "results.json"

    @property
    def report_html(self) -> Path:
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def bundle(self) -> Path:
        return self.path / "bundle"


def environment() -> dict[str, Any]:
    """What a figure depends on besides the code: versions, commit, hardware. No user, host or path."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "signwave": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": versions,
        "hardware": hardware(),
    }


def hardware() -> dict[str, Any]:
    """Processor, cores and GPUs of this machine; asks torch for GPUs only if torch is already imported."""
    torch = sys.modules.get("torch")
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if torch is not None and torch.cuda.is_available()
        else []
    )
    return {"cpu": _cpu_name(), "num_cores": os.cpu_count(), "gpus": gpus, "system": platform.system()}


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Commit of the checkout this package lies in, with '+' when it was changed; '' for an installed wheel."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        head = _git("rev-parse", "HEAD", folder=root)
        changed = _git("status", "--porcelain", "-uno", folder=root)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head[:12] + ("+" if changed else "")


def _git(*arguments: str, folder: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
