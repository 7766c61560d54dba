"""Typed configuration: dataclasses hold types and defaults, YAML holds differences, `key=value` holds exceptions.

`load` returns a real dataclass object; no DictConfig leaves this module. No value can name code, and the environment
can't be read from a file: interpolations are refused.
"""

import dataclasses
import difflib
import typing
from pathlib import Path
from typing import Any, TypeVar

from signwave.errors import ConfigError

T = TypeVar("T")

_MAX_YAML_BYTES = 1 << 20


def load(cls: type[T], yaml_path: str | Path | None = None, overrides: typing.Sequence[str] = ()) -> T:
    """Merge defaults, a YAML file and command-line settings into an instance of a dataclass.

    Args:
        cls: dataclass whose fields may be dataclasses.
        yaml_path: file with only what differs from the defaults; None for none.
        overrides: `key.subkey=value` settings; they win over the file.

    Raises:
        ConfigError: unknown key (with a suggestion), wrong type or refused value; the message names the source.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    merged = OmegaConf.structured(cls)
    source = cls.__name__
    try:
        if yaml_path is not None:
            source = str(yaml_path)
            merged = OmegaConf.merge(merged, _checked(cls, read_yaml(yaml_path), source))
        for setting in overrides:
            source = f"command line: {setting}"
            merged = OmegaConf.merge(merged, _checked(cls, _parse_setting(setting), source))
        source = cls.__name__ + (f" after merging {yaml_path}" if yaml_path is not None else "")
        result = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, ValueError) as error:
        # to_object wraps an error of __post_init__; its own words come first
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(f"{source}: {reason}") from error
    return typing.cast(T, result)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML mapping of plain values; tags, aliases in bulk and interpolations are refused."""
    import yaml

    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give the path of a YAML file")
    if path.stat().st_size > _MAX_YAML_BYTES:
        raise ConfigError(f"{path}: larger than 1 MB, which no configuration is")
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ConfigError(f"{path}: YAML aliases (*name) are not allowed; write the value out")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not plain YAML ({' '.join(str(error).split())})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got a {type(content).__name__}")
    return content


def _parse_setting(setting: str) -> dict[str, Any]:
    import yaml

    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"command line: {setting}: settings look like train.max_steps=100")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"command line: {setting}: the value is not plain YAML ({error})") from error
    if isinstance(value, str) and _is_float(text):
        value = float(text)  # YAML 1.1 reads 1e-4 as text
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return typing.cast(dict[str, Any], value)


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _checked(cls: type, values: Any, source: str, prefix: str = "") -> Any:
    """The values unchanged, once every key is known and no text is an interpolation."""
    hints = typing.get_type_hints(cls)
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean '{prefix}{close[0]}'?" if close else f"allowed are {', '.join(sorted(hints))}"
            raise ConfigError(f"{source}: unknown key '{name}' in {cls.__name__}; {hint}")
        if isinstance(value, dict) and dataclasses.is_dataclass(hints[key]):
            _checked(typing.cast(type, hints[key]), value, source, f"{name}.")
        _refuse_interpolation(value, source, name)
    return values


def _refuse_interpolation(value: Any, source: str, name: str) -> None:
    if isinstance(value, str) and "${" in value:
        raise ConfigError(f"{source}: '{name}' holds '${{…}}'; interpolations are not allowed, write the value")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _refuse_interpolation(item, source, name)


def plain(value: Any) -> Any:
    """A dataclass as nested dicts and lists of plain values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {spec.name: plain(getattr(value, spec.name)) for spec in dataclasses.fields(value) if spec.init}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def to_yaml(value: Any) -> str:
    """The resolved configuration as YAML, in the order of the fields."""
    import yaml

    return str(yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True, width=100))
