"""`slr relabel`: a manifest and a mapping → a folder of relabelled sentences, as recipes take it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signwave import manifest as manifests
from signwave.ctc import Spec
from signwave.errors import ArtefactError, UserError
from signwave.manifest import Clip
from signwave.rundir import atomic_write, read_json, write_json
from slr.crosslingual.mapping import Mapping, read_mapping
from slr.crosslingual.parts import difference
from slr.crosslingual.relabelling import (
    MIXTURE,
    WILDCARD,
    Relabelling,
    RelabelReport,
    Sentences,
    reasons,
    relabel,
)

HEADER_FILE, DROPPED_FILE = "relabelled.json", "dropped.jsonl"
_FORMAT = 1


@dataclass(frozen=True)
class Relabelled:
    """A folder that `relabel_manifest` wrote.

    Attributes:
        clips: with labels of the target vocabulary and of `tokens`.
        tokens: extra label → what it stands for, see `signwave.ctc.ExtraTokens`.
        target_sha256: of the target's training manifest, "" where none was named.
        sha256: of the relabelled manifest.
    """

    clips: list[Clip] = field(repr=False)
    tokens: dict[str, Spec]
    target_sha256: str
    sha256: str


def relabel_manifest(
    manifest: str | Path,
    mapping: str | Path,
    out: str | Path,
    *,
    settings: Relabelling | None = None,
    target: str | Path | None = None,
    other_corpus: bool = False,
    overwrite: bool = False,
) -> RelabelReport:
    """Write a folder with the relabelled sentences; does nothing where it is done.

    The folder holds train.jsonl.gz, which a recipe takes under `auxiliary.corpora`, relabelled.json, which says what
    it was made from and what its extra labels stand for, and dropped.jsonl.

    Args:
        manifest: sentences of the auxiliary corpus.
        mapping: table of `slr map`, edited or not.
        out: the folder.
        settings: how.
        target: training manifest of the target corpus; targets that it doesn't have are refused, and so is training
            with another corpus.
        other_corpus: take a manifest whose signs weren't those that were mapped.
        overwrite: replace a folder of other inputs.

    Raises:
        ArtefactError: the folder, or the mapping, is of other inputs.
        UserError: nothing is mapped, or a target gloss isn't among those of the target corpus.
    """
    out, settings = Path(out), settings or Relabelling()
    table = read_mapping(mapping)
    manifest_sha256 = manifests.file_hash(manifest)
    known = table.header.get("auxiliary_manifest_sha256", "")
    if known and known != manifest_sha256 and not other_corpus:
        raise ArtefactError(
            f"{mapping}: maps the signs of another manifest ({known[:8]}…, not {manifest_sha256[:8]}…); map those of "
            f"{manifest}, or give --other-corpus if its glosses name the same signs"
        )
    _check_targets(table, mapping, target)
    facts = {
        "format": _FORMAT,
        "manifest_sha256": manifest_sha256,
        "mapping_sha256": table.sha256,
        "target_sha256": "" if target is None else manifests.file_hash(target),
        "settings": dataclasses.asdict(settings),
    }
    old = _old_report(out, facts, overwrite=overwrite)
    if old is not None:
        return old
    sentences = Sentences(table, settings)
    report = RelabelReport(str(out))
    kept, dropped = relabel(manifests.read(manifest), sentences, report)
    if not kept:
        raise UserError(
            f"{mapping}: of {report.num_clips} sentences none stays ({reasons(report.num_dropped)}); keep more rows, "
            "lower --min-share, or leave unmapped signs to wildcards"
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / HEADER_FILE).unlink(missing_ok=True)  # its presence means that the folder is whole
    atomic_write(out / DROPPED_FILE, "".join(json.dumps(one._asdict(), ensure_ascii=False) + "\n" for one in dropped))
    sha256 = manifests.write(out / "train.jsonl.gz", (clip.seen_from(out) for clip in kept))
    figures = {name: value for name, value in vars(report).items() if name not in ("out", "is_old")}
    header = {"made_from": facts, "train_sha256": sha256, "tokens": sentences.tokens, "figures": figures}
    write_json(out / HEADER_FILE, header)
    return report


def _check_targets(table: Mapping, path: str | Path, target: str | Path | None) -> None:
    reserved = [gloss for gloss in table.targets.values() if gloss == WILDCARD or gloss.startswith(MIXTURE)]
    if reserved:
        raise UserError(f"{path}: the target gloss '{reserved[0]}' would be read as a wildcard or mixture; rename it")
    if target is None:
        return
    there = {gloss for clip in manifests.read(target) for gloss in clip.text.split()}
    missing = sorted(set(table.targets.values()) - there)
    if missing:
        sources = [source for source, gloss in table.targets.items() if gloss == missing[0]]
        raise UserError(
            f"{path}: '{sources[0]}' is mapped to '{missing[0]}', which {target} doesn't have"
            f"{f', and {len(missing) - 1} others' if len(missing) > 1 else ''}; correct the rows, or set keep to no"
        )


def _old_report(out: Path, facts: MappingType[str, Any], *, overwrite: bool) -> RelabelReport | None:
    """The report of a folder that is done, if it was made from the same."""
    if not (out / HEADER_FILE).is_file():
        others = [path.name for path in out.iterdir()] if out.is_dir() else []
        if "train.jsonl.gz" in others and DROPPED_FILE not in others and not overwrite:
            raise ArtefactError(f"{out}: holds a corpus that wasn't relabelled; give another folder")
        return None
    found = _header(out)
    if found["made_from"] == facts:
        return RelabelReport(str(out), **found["figures"], is_old=True)
    if not overwrite:
        raise ArtefactError(
            f"{out}: was relabelled with {difference(found['made_from'], facts)}; give another folder, or --overwrite"
        )
    return None


def _header(folder: Path) -> dict[str, Any]:
    path = folder / HEADER_FILE
    try:
        found: dict[str, Any] = read_json(path)
        if found["made_from"]["format"] != _FORMAT:
            raise ArtefactError(f"{path}: of another format; relabel the corpus again")
        found["tokens"], found["train_sha256"], found["figures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path}: can't be read ({error}); relabel the corpus again") from error
    return found


def is_relabelled(folder: str | Path) -> bool:
    """Whether a folder was written by `slr relabel`."""
    return (Path(folder) / HEADER_FILE).is_file()


def read_relabelled(folder: str | Path) -> Relabelled:
    """Read a folder.

    Raises:
        ArtefactError: its header is damaged, or its sentences aren't those that were written.
    """
    folder = Path(folder)
    header = _header(folder)
    path = folder / "train.jsonl.gz"
    if manifests.file_hash(path) != header["train_sha256"]:
        raise ArtefactError(f"{path}: changed since it was relabelled; edit the mapping instead and relabel again")
    clips = list(manifests.read(path))
    return Relabelled(clips, header["tokens"], header["made_from"]["target_sha256"], header["train_sha256"])
