"""Which files a command means, where their results go, and which of them are done already."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from signwave.errors import MediaError, UserError
from signwave.media.paths import MEMBER_SEPARATOR, local_file, split_member
from signwave.rundir import sha256_file

STDIN = "-"
_RECORD_SUFFIXES = (".json", ".jsonl")


@dataclass(frozen=True)
class Input:
    """One file that is meant: its path as given (`-` for stdin), and where its results go below the output folder."""

    name: str
    output: Path


class InputFile(NamedTuple):
    """One file to read: its name for the record, where its bytes are, and their SHA-256 (empty if they can't be read).

    `path` is text as it was given: a `Path` of it would tidy up `http://` and hide what it is.
    """

    name: str
    path: str
    sha256: str = ""


def files_below(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Yield the files of these suffixes (lower case) below a folder, in a fixed order, hidden ones left out."""
    for parent, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in suffixes and not name.startswith("."):
                yield Path(parent) / name


def find_inputs(
    arguments: Sequence[str],
    *,
    suffixes: Collection[str],
    noun: str,
    limit: int | None = None,
    picture_suffixes: Collection[str] = (),
    beside: str = "",
) -> list[Input]:
    """Return the files meant by the arguments: files as given, folders searched, `-` for stdin.

    Two inputs whose results would have the same name keep their suffix in it (`a.wav.txt`, `a.mp3.txt`).

    Args:
        arguments: what stands on the command line.
        suffixes: of the files that a folder is searched for, lower case.
        noun: what such files are called.
        limit: take at most this many.
        picture_suffixes: a folder that holds files of these suffixes is one input, the frames of a clip.
        beside: in a folder, a file of another suffix is passed over where one of its name with this suffix lies beside
            it.

    Raises:
        UserError: a folder without such files.
    """
    found: list[Input] = []
    for argument in dict.fromkeys(arguments):
        path = Path(argument)
        if argument == STDIN:
            found.append(Input(STDIN, Path("stdin")))
        elif path.is_dir():
            files = [file for file in files_below(path, suffixes) if not _is_doubled(file, beside)]
            files += clip_folders(path, picture_suffixes, others=suffixes)
            if not files:
                raise UserError(f"{path}: holds no {noun}; give a folder that does, or files")
            found += [Input(str(file), _below(file, path)) for file in sorted(files)]
        else:
            # Of an archive's member only the member's name counts.
            name = Path(argument.rpartition(MEMBER_SEPARATOR)[2]).name or path.name.partition(MEMBER_SEPARATOR)[0]
            found.append(Input(argument, Path(name)))
    return _named_apart(found)[:limit]


def clip_folders(folder: Path, picture_suffixes: Collection[str], *, others: Collection[str] = ()) -> Iterator[Path]:
    """Yield the folders, `folder` itself or below it, that hold pictures and no files of `others`: each is a clip."""
    if not picture_suffixes:
        return
    for parent, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        found = {Path(name).suffix.lower() for name in files if not name.startswith(".")}
        if found & set(picture_suffixes) and not found & set(others):
            yield Path(parent)


def _is_doubled(file: Path, beside: str) -> bool:
    return bool(beside) and file.suffix.lower() != beside and file.with_suffix(beside).is_file()


def _below(file: Path, folder: Path) -> Path:
    return Path(file.absolute().name) if file == folder else file.relative_to(folder)


def _named_apart(inputs: list[Input]) -> list[Input]:
    bare = Counter(item.output.with_suffix("") for item in inputs)
    return [
        item if bare[item.output.with_suffix("")] > 1 else Input(item.name, item.output.with_suffix(""))
        for item in inputs
    ]


def check_outputs(inputs: Sequence[Input]) -> None:
    """Refuse inputs that would write over each other.

    Raises:
        UserError: two inputs have the same output.
    """
    first: dict[Path, Input] = {}
    for item in inputs:
        other = first.setdefault(item.output, item)
        if other is not item:
            raise UserError(
                f"{other.name} and {item.name} would both be written to {item.output}; "
                "give their common folder, or run them apart"
            )


def output_path(item: Input, out_dir: Path, format_name: str) -> Path:
    """Return where one format of one input goes."""
    target = out_dir / item.output
    return target.with_name(f"{target.name}.{format_name}")


def is_done(item: Input, out_dir: Path, format_names: Sequence[str]) -> bool:
    """Whether every requested format is there, and made from these bytes where the format says so (json, jsonl).

    What comes from stdin never is.
    """
    paths = [output_path(item, out_dir, name) for name in format_names]
    if item.name == STDIN or not all(path.is_file() for path in paths):
        return False
    records = [path for path in paths if path.suffix in _RECORD_SUFFIXES]
    try:
        return all(_stored_sha256(path) == _sha256(item.name) for path in records)
    except (MediaError, OSError):  # reading it will say what is wrong
        return False


def open_input(item: Input, folder: Path) -> InputFile:
    """Return the file behind an input; stdin is kept in `folder`.

    What is wrong with a file comes up when it is read, as that input's failure.
    """
    path = item.name
    if item.name == STDIN:
        path = str(folder / "stdin")
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    checksum = ""
    with contextlib.suppress(MediaError, OSError):
        checksum = _sha256(path)
    return InputFile(item.name, path, checksum)


def sweep(inputs: Sequence[Input], out_dir: Path, format_names: Sequence[str]) -> None:
    """Remove what an earlier, killed run had begun to write of these very results."""
    targets = [output_path(item, out_dir, name) for item in inputs for name in format_names]
    begun = {(path.parent, f".tmp-{path.name}") for path in targets}
    for folder in {path.parent for path in targets}:
        for leftover in folder.glob(".tmp-*"):
            if (folder, leftover.name.rpartition("-")[0]) in begun:
                leftover.unlink(missing_ok=True)


def _stored_sha256(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return "not a record"


def _sha256(path: str) -> str:
    head, _ = split_member(path)
    return _folder_sha256(Path(head)) if Path(head).is_dir() else sha256_file(local_file(head))


def _folder_sha256(folder: Path) -> str:
    """SHA-256 over the names and contents of the files directly in a folder of frames."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        digest.update(f"{file.name}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()
