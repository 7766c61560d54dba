"""Getting corpora that Debian packages hold: with a relative folder, without apt, and when packages have changed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

APT = """#!/bin/sh
case "$*" in *download*) touch asterisk-core-sounds-en_1.deb asterisk-core-sounds-en-wav_1.deb ;; esac
"""
DPKG = """#!/bin/sh
# dpkg-deb -x PACKAGE FOLDER
mkdir -p "$3/usr/share/doc/asterisk-core-sounds-en" "$3/usr/share/asterisk/sounds/en_US_f_Allison"
touch "$3/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
touch "$3/usr/share/asterisk/sounds/en_US_f_Allison/activated.wav"
"""


def fetch(
    repository: Path, folder: Path, *, name: str = "fetch_asterisk.py", **tools: str
) -> subprocess.CompletedProcess[str]:
    """Run the tool in a folder whose PATH holds nothing but the tools given and the usual shell commands."""
    binaries = folder / "bin"
    binaries.mkdir(exist_ok=True)
    for tool, text in tools.items():
        path = binaries / tool.replace("_", "-")
        path.write_text(text)
        path.chmod(0o755)
    for needed in ("sh", "mkdir", "touch"):
        target = binaries / needed
        if not target.exists():
            target.symlink_to(next(p for p in (Path("/bin") / needed, Path("/usr/bin") / needed) if p.exists()))
    script = repository / "tools" / name
    environment = {**os.environ, "PATH": str(binaries)}
    return subprocess.run(
        [sys.executable, str(script), "raw"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_relative_folder_is_filled(repository: Path, tmp_path: Path) -> None:
    done = fetch(repository, tmp_path, apt_get=APT, dpkg_deb=DPKG)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "raw" / "usr" / "share" / "asterisk").is_dir()


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({}, "apt-get: not on this machine"),
        ({"apt_get": "#!/bin/sh\nexit 100\n", "dpkg_deb": DPKG}, "apt-get can't download them here"),
        ({"apt_get": APT, "dpkg_deb": "#!/bin/sh\n"}, "the packages don't hold"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    tools: dict[str, str], message: str, repository: Path, tmp_path: Path
) -> None:
    done = fetch(repository, tmp_path, **tools)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_pictures_captions_come_the_same_way(repository: Path, tmp_path: Path) -> None:
    stamps = "usr/share/tuxpaint/stamps/animals/insects/cartoon"
    apt = '#!/bin/sh\ncase "$*" in *download*tuxpaint-stamps-default*) touch tuxpaint-stamps-default_1.deb ;; esac\n'
    dpkg = f'#!/bin/sh\nmkdir -p "$3/{stamps}"\ntouch "$3/{stamps}/spider.txt" "$3/{stamps}/spider_desc_be.ogg"\n'
    done = fetch(repository, tmp_path, name="fetch_tuxpaint.py", apt_get=apt, dpkg_deb=dpkg)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "raw" / stamps / "spider.txt").is_file()
    again = fetch(repository, tmp_path, name="fetch_tuxpaint.py", apt_get="#!/bin/sh\nexit 100\n", dpkg_deb=dpkg)
    assert again.returncode == 0, again.stderr
