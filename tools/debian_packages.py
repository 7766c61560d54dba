"""Get Debian packages and unpack them into a folder, without root and without installing, for tools/fetch_*.py."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from signwave.errors import UserError

_TIMEOUT_SECONDS = 600


def fetch(folder: Path, packages: Sequence[str], proofs: Sequence[str]) -> Path:
    """Fill `folder` with the files of the packages and return it. What is there isn't fetched again.

    Args:
        folder: it is created.
        packages: names; each is downloaded to `folder`/debs.
        proofs: files of the packages, relative to the folder, that show that they are unpacked.

    Raises:
        UserError: a tool or the packages can't be had, or they don't hold these files any more.
    """
    ways_out = (
        f"unpack {' and '.join(packages)} (apt-get download, dpkg-deb -x) on another machine and copy the folder here, "
        "or give a folder of your own recordings to `asr prepare folder`"
    )
    if all((folder / proof).is_file() for proof in proofs):
        return folder
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UserError(f"{tool}: not on this machine, which seems to be no Debian; {ways_out}")
    downloads = folder / "debs"
    downloads.mkdir(parents=True, exist_ok=True)
    if not _run(["apt-get", "download", *packages], cwd=downloads):
        options = _own_state(folder / "apt")
        _run(["apt-get", *options, "update"], cwd=downloads)
        if not _run(["apt-get", *options, "download", *packages], cwd=downloads):
            raise UserError(f"{' and '.join(packages)}: apt-get can't download them here; {ways_out}")
    for package in sorted(path for name in packages for path in downloads.glob(f"{name}_*.deb")):
        _run(["dpkg-deb", "-x", str(package.resolve()), str(folder.resolve())], cwd=folder)
    if not all((folder / proof).is_file() for proof in proofs):
        raise UserError(f"{folder}: the packages don't hold {' and '.join(proofs)} any more; {ways_out}")
    return folder


def _own_state(folder: Path) -> list[str]:
    """Options that make apt keep lists and cache in a folder of ours, which an ordinary user can write."""
    folder = folder.resolve()
    for part in ("lists/partial", "archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State": folder, "Dir::State::lists": folder / "lists", "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": folder, "APT::Sandbox::User": "",
    }  # fmt: skip
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _run(command: list[str], *, cwd: Path) -> bool:
    """Whether a command ended well."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main(packages: Sequence[str], proofs: Sequence[str]) -> int:
    """Fetch into the folder named on the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=f"{' and '.join(packages)} without root")
    parser.add_argument("raw_dir", type=Path)
    try:
        folder = fetch(parser.parse_args().raw_dir, packages, proofs)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0
