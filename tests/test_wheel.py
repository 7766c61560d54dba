"""The installed wheel works like the checkout: every package and data file is inside, and the commands answer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

DATA_FILES = ("slr/datasets/concepts.tsv", "asr/datasets/sentences_fa.txt", "signwave/py.typed")


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of this checkout unpacked, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "clone", "-q", repository, source], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, source], check=True)
    (wheel,) = folder.glob("signwave-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.mark.parametrize("command", ["slr", "asr"])
def test_commands_answer_from_the_wheel(command: str, installed: Path, tmp_path: Path) -> None:
    code = (
        f"import {command}, sys; from {command}.cli import main; sys.argv = ['{command}', '--help']\n"
        f"print({command}.__file__)\nsys.exit(main())"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(installed))
    assert "Usage" in done.stdout


def test_data_files_are_inside_and_nothing_else_is_installed(installed: Path) -> None:
    for name in DATA_FILES:
        assert (installed / name).is_file(), name
    packages = {path.name for path in installed.iterdir() if path.is_dir()} - {"bin"}
    assert {name for name in packages if not name.endswith(".dist-info")} == {"signwave", "slr", "asr"}
