"""Configuration: what merges, and how each wrong value is named."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from signwave import config
from signwave.errors import ConfigError


@dataclass
class Training:
    max_steps: int = 10
    learning_rate: float = 1e-3
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"train.max_steps must be at least 1, got {self.max_steps}")


@dataclass
class Run:
    name: str = "toy"
    train: Training = field(default_factory=Training)
    languages: list[str] = field(default_factory=list)
    limit: float | None = None


def test_command_line_wins_over_file_and_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train:\n  max_steps: 5\n  learning_rate: 0.5\nlanguages: [fa, ur]\n")
    run = config.load(Run, path, ["train.max_steps=7", "limit=2"])
    assert run == Run(train=Training(max_steps=7, learning_rate=0.5), languages=["fa", "ur"], limit=2.0)
    assert type(run.train) is Training


def test_scientific_notation_is_a_number() -> None:
    assert config.load(Run, None, ["train.learning_rate=1e-4"]).train.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.max_step=3", r"command line: train.max_step=3: unknown key .* did you mean 'train.max_steps'\?"),
        ("train.max_steps=0", "train.max_steps must be at least 1, got 0"),
        ("train.max_steps=many", "command line: train.max_steps=many: .*could not be converted to Integer"),
        ("train.mode=sideways", "Invalid value 'sideways', expected one of"),
        ("name=${oc.env:HOME}", "interpolations are not allowed"),
        ("languages=[a,'${oc.env:HOME}']", "interpolations are not allowed"),
        ("train.max_steps", r"settings look like train.max_steps=100"),
        ("=3", "settings look like"),
        ("train=3", "command line: train=3"),
        ("name=[", "the value is not plain YAML"),
    ],
)
def test_wrong_setting_is_named(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(Run, None, [setting])


@pytest.mark.parametrize(
    "target",
    ["os.system", "subprocess.run", "builtins.eval", "torch.load", "torch.hub.load", "importlib.import_module"],
)
def test_no_config_can_name_code(target: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(f"train:\n  _target_: {target}\n  args: [echo]\n")
    with pytest.raises(ConfigError, match=r"evil\.yaml: unknown key 'train._target_'"):
        config.load(Run, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: !!python/object/apply:os.system [echo]", "not plain YAML"),
        ("a: &a [x,x]\nb: [*a,*a]", "aliases"),
        ("- 1", "expected `key: value` lines"),
        ("name: ${train.max_steps}", "interpolations are not allowed"),
        ("name: 'unterminated", "not plain YAML"),
    ],
)
def test_unsafe_or_broken_yaml_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        config.load(Run, path)


def test_missing_and_oversized_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load(Run, tmp_path / "absent.yaml")
    big = tmp_path / "big.yaml"
    big.write_text("#" * (1 << 20) + "\n")
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        config.load(Run, big)


def test_yaml_round_trip(tmp_path: Path) -> None:
    run = Run(name="ä", train=Training(max_steps=3), limit=0.5)
    path = tmp_path / "run.yaml"
    path.write_text(config.to_yaml(run))
    assert config.load(Run, path) == run
