"""Get the Debian packages of the corpus `asterisk` and unpack them into a folder, without root and without installing.

    python tools/fetch_asterisk.py RAW_DIR

Needs `apt-get` and `dpkg-deb` (Debian, Ubuntu and the like). Where apt has no package lists it fetches lists of its
own, into RAW_DIR/apt, from the sources that the machine is set up with. 18 MB. What is there isn't fetched again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from signwave.errors import UserError

PACKAGES = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-wav")
TEXTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
A_SOUND = "usr/share/asterisk/sounds/en_US_f_Allison/activated.wav"
_TIMEOUT_SECONDS = 300
_WAYS_OUT = (
    "unpack the two packages (apt-get download, dpkg-deb -x) on another machine and copy the folder here, "
    "or give a folder of your own recordings to `asr prepare folder`"
)


def fetch(folder: Path) -> Path:
    """Fill `folder` with usr/share of both packages and return it.

    Raises:
        UserError: a tool or the packages can't be had.
    """
    if (folder / TEXTS).is_file() and (folder / A_SOUND).is_file():
        return folder
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UserError(f"{tool}: not on this machine, which seems to be no Debian; {_WAYS_OUT}")
    downloads = folder / "debs"
    downloads.mkdir(parents=True, exist_ok=True)
    if not _download(downloads, []):
        options = _own_state(folder / "apt")
        _run(["apt-get", *options, "update"], cwd=downloads)
        if not _download(downloads, options):
            raise UserError(f"{' and '.join(PACKAGES)}: apt-get can't download them here; {_WAYS_OUT}")
    for package in sorted(downloads.glob("asterisk-core-sounds-en*.deb")):
        _run(["dpkg-deb", "-x", str(package.resolve()), str(folder.resolve())], cwd=folder)
    if not (folder / TEXTS).is_file() or not (folder / A_SOUND).is_file():
        raise UserError(f"{folder}: the packages don't hold {TEXTS} and {A_SOUND} any more; {_WAYS_OUT}")
    return folder


def _download(downloads: Path, options: list[str]) -> bool:
    return _run(["apt-get", *options, "download", *PACKAGES], cwd=downloads)


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


def main() -> int:
    """Fetch into the folder named on the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="asterisk-core-sounds-en without root")
    parser.add_argument("raw_dir", type=Path)
    try:
        folder = fetch(parser.parse_args().raw_dir)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
