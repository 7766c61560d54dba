"""Rules of the house that a machine can hold."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("signwave", "slr", "asr")


def sources(repository: Path, *folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((repository / folder).rglob("*.py"))]


def test_no_pickle_and_no_unsafe_loading(repository: Path) -> None:
    unsafe = re.compile(
        r"^\s*(import|from) (pickle|dill|joblib|cloudpickle|shelve)\b|weights_only\s*=\s*False|allow_pickle\s*=\s*True"
        r"|yaml\.(load|unsafe_load|full_load)\(",
        re.MULTILINE,
    )
    for path in sources(repository, *PACKAGES, "recipes", "tools"):
        assert not unsafe.search(path.read_text()), path


def test_every_torch_load_is_explicit(repository: Path) -> None:
    for path in sources(repository, *PACKAGES, "recipes", "tools"):
        for call in re.findall(r"torch\.load\([^)]*\)", path.read_text()):
            assert "weights_only=True" in call, f"{path}: {call}"


def test_every_recipe_has_a_configuration_and_stays_short(repository: Path) -> None:
    recipes = {p.relative_to(repository / "recipes").with_suffix("") for p in (repository / "recipes").rglob("*.py")}
    configurations = {p.relative_to(repository / "conf").with_suffix("") for p in (repository / "conf").rglob("*.yaml")}
    recipes = {stem for stem in recipes if not stem.name.endswith("_study")}  # a study runs recipes, it is none
    assert recipes == configurations
    for stem in recipes:
        assert len((repository / "recipes" / stem).with_suffix(".py").read_text().splitlines()) <= 60, stem


def test_the_tree_names_no_machine(repository: Path) -> None:
    suffixes = {".py", ".toml", ".md", ".yaml", ".sh", ".html", ""}
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=repository, capture_output=True, text=True, check=True
    )
    machine_path = re.compile(r"(^|[^A-Za-z0-9_.])/(home|work|root|Users)/")
    for name in listed.stdout.splitlines():
        path = repository / name
        if path.suffix in suffixes and path.is_file() and path != Path(__file__):
            assert not machine_path.search(path.read_text(errors="replace")), path


@pytest.mark.parametrize("command", ["slr", "asr"])
def test_help_imports_nothing_heavy(command: str) -> None:
    """The commands start in about a second only while these stay out of the way."""
    code = (
        f"import sys; sys.argv = ['{command}', '--help']\n"
        f"from {command}.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'pytorch_lightning', 'transformers', 'faiss', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout
