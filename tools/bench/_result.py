"""Write one benchmark's figures as a dated JSON file that names commit, versions and hardware."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS_DIR = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "torchaudio", "numpy", "av", "decord2", "soundfile", "flashlight-text", "faiss-cpu")


def hardware() -> dict[str, Any]:
    """Describe the machine: processor, cores this process may use, memory, accelerator."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_name(),
        "num_cores": cores,
        "memory_gib": _memory_gib(),
        "gpu": _gpu_name(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def commit() -> str:
    """Return the checkout's commit, with "+changes" where the tree differs, or "unknown"."""
    folder = Path(__file__).resolve().parent
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return "unknown"
    return head + ("+changes" if _git(folder, "status", "--porcelain") else "")


def write_result(
    name: str,
    figures: Mapping[str, Any],
    ratio: Mapping[str, float],
    out: str | Path | None = None,
) -> Path:
    """Write `{"name", "commit", "hardware", "figures", "ratio"}` and return the file's path.

    Args:
        name: what was measured, e.g. "loader".
        figures: every measured number (seconds, megabytes, counts); units in the keys.
        ratio: ours over the peer's, one entry a comparison.
        out: the file; by default `results/NAME_MACHINE_YYYYMMDD.json` beside the benchmarks.
    """
    machine = hardware()
    if out is None:
        slug = re.sub(r"[^a-z0-9]+", "-", (machine["gpu"] or f"{machine['num_cores']}-cores").lower()).strip("-")
        out = RESULTS_DIR / f"{name}_{slug}_{datetime.date.today():%Y%m%d}.json"
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "name": name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "hardware": machine,
        "figures": dict(figures),
        "ratio": dict(ratio),
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8"), re.MULTILINE)
        if match:
            return match.group(1)
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _gpu_name() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
