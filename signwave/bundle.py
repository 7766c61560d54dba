"""A trained model is a folder: safetensors, plain JSON and checksums. Loading it runs no code that it names.

bundle/
  bundle.json        format version, kind, config, info, SHA-256 of every other file
  model.safetensors  weights
  vocabulary.json    tokens            (where the model has one)
  normaliser.json    steps and map     (where the model has one)
  README.md          what it is, for people
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signwave.errors import ArtefactError
from signwave.rundir import read_json, sha256_file, write_json
from signwave.text import Normaliser, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT_VERSION = 1
_INDEX, _WEIGHTS, _VOCABULARY, _NORMALISER = "bundle.json", "model.safetensors", "vocabulary.json", "normaliser.json"


@dataclass(frozen=True)
class Bundle:
    """A verified model folder. `kind` is compared with literals by the code that builds the model from `config`."""

    folder: Path
    kind: str
    config: dict[str, Any]
    info: dict[str, Any]
    vocabulary: Vocabulary | None
    normaliser: Normaliser | None
    files: tuple[str, ...]
    """Names of the files in the folder that were verified; others don't belong to it."""
    digest: str
    """SHA-256 over kind, config, info and the checksums of all files: equal digests are equal models."""

    def state_dict(self) -> "dict[str, Tensor]":
        """The weights, on the CPU."""
        from safetensors.torch import load_file

        return load_file(self.folder / _WEIGHTS)


def save(
    folder: str | Path,
    *,
    kind: str,
    model: "nn.Module",
    config: dict[str, Any],
    vocabulary: Vocabulary | None = None,
    normaliser: Normaliser | None = None,
    info: dict[str, Any] | None = None,
    files: dict[str, Path] | None = None,
) -> str:
    """Write a bundle, replacing an older one as a whole, and return its digest.

    Args:
        folder: where it shall lie, e.g. runs/NAME/bundle.
        kind: what the model is, e.g. "slr.pose_conv".
        model: its weights are stored; tied weights are stored once per name.
        config: plain values from which the same architecture is built again.
        vocabulary: token list, if the model has one.
        normaliser: text normaliser, if the model has one.
        info: facts for the user of the model: rates, stride, training data, results, licence.
        files: further files to carry, name → path (a language model, say).
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{folder.name}-", dir=folder.parent))
    try:
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
        save_file(tensors, temporary / _WEIGHTS)
        if vocabulary is not None:
            write_json(temporary / _VOCABULARY, vocabulary.to_dict())
        if normaliser is not None:
            write_json(temporary / _NORMALISER, normaliser.to_dict())
        for name, path in (files or {}).items():
            shutil.copyfile(path, temporary / name)
        (temporary / "README.md").write_text(_card(kind, info or {}), encoding="utf-8")
        digest = _write_index(temporary, kind=kind, config=config, info=info or {})
        _swap(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


def _write_index(folder: Path, *, kind: str, config: dict[str, Any], info: dict[str, Any]) -> str:
    sums = {}
    for path in sorted(folder.iterdir()):
        sums[path.name] = sha256_file(path)
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    content = {"format_version": FORMAT_VERSION, "kind": kind, "config": config, "info": info, "sha256": sums}
    content["digest"] = _digest_of(content)
    write_json(folder / _INDEX, content)
    return str(content["digest"])


def _digest_of(content: dict[str, Any]) -> str:
    # The card is for people: editing its text must not make an index refuse the model.
    sums = {name: value for name, value in content["sha256"].items() if name != "README.md"}
    hashed = {**{key: content[key] for key in ("format_version", "kind", "config", "info")}, "sha256": sums}
    return hashlib.sha256(json.dumps(hashed, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _swap(temporary: Path, folder: Path) -> None:
    """Put the new folder in place; rename can't replace a folder that isn't empty, so the old one steps aside."""
    if folder.exists():
        aside = folder.with_name(f".tmp-old-{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(folder, aside)
        os.rename(temporary, folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.rename(temporary, folder)
    os.chmod(folder, 0o755)


def _card(kind: str, info: dict[str, Any]) -> str:
    lines = [f"# {info.get('name', kind)}", "", f"A Signwave model of kind `{kind}`.", ""]
    lines += [f"- {key}: {value}" for key, value in info.items() if isinstance(value, str | int | float)]
    return "\n".join(lines) + "\n"


def find(path: str | Path) -> Path:
    """The bundle folder meant by a path: itself, or `bundle/` of a run folder.

    Raises:
        ArtefactError: there is none.
    """
    path = Path(path)
    for folder in (path, path / "bundle"):
        if (folder / _INDEX).is_file():
            return folder
    what = "holds no bundle.json; the run may not have finished" if path.exists() else "no such folder"
    raise ArtefactError(f"{path}: {what}; give a run folder (runs/NAME) or a bundle folder")


def load(path: str | Path, *, verify: bool = True) -> Bundle:
    """Open a bundle and check every file against its checksum.

    Args:
        path: run folder or bundle folder.
        verify: hash the files; False only where the caller has just done so.

    Raises:
        ArtefactError: a file is missing, damaged, or written by a newer version.
    """
    folder = find(path)
    content = read_json(folder / _INDEX)
    try:
        version, sums = content["format_version"], dict(content["sha256"])
        kind, config, info = str(content["kind"]), dict(content["config"]), dict(content["info"])
        digest = str(content["digest"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{folder / _INDEX}: not a model folder's index ({error})") from error
    if version != FORMAT_VERSION:
        raise ArtefactError(
            f"{folder}: format version {version}, this toolkit reads {FORMAT_VERSION}; upgrade signwave"
        )
    if verify:
        _verify(folder, sums)
        if _digest_of(content) != digest:
            raise ArtefactError(f"{folder / _INDEX}: was changed after it was written; export the model again")
    return Bundle(
        folder=folder,
        kind=kind,
        config=config,
        info=info,
        vocabulary=Vocabulary.from_dict(read_json(folder / _VOCABULARY)) if _VOCABULARY in sums else None,
        normaliser=Normaliser.from_dict(read_json(folder / _NORMALISER)) if _NORMALISER in sums else None,
        files=tuple(sums),
        digest=digest,
    )


def _verify(folder: Path, sums: dict[str, str]) -> None:
    if _WEIGHTS not in sums:
        raise ArtefactError(f"{folder / _INDEX}: lists no {_WEIGHTS}; the bundle is incomplete")
    for name, expected in sums.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ArtefactError(f"{path}: missing from the bundle; copy the whole folder again")
        if name != "README.md" and sha256_file(path) != expected:
            raise ArtefactError(f"{path}: checksum differs from bundle.json; the file is damaged or was changed")
