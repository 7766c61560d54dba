"""A Kaldi data directory (wav.scp, text, utt2spk, segments), or a folder of such directories, each a split.

Language, hours, licence: those of the corpus behind it.

Quirks: wav.scp may hold shell commands. They are never run: where a command only decodes one file (flac -c -d FILE |,
sph2pipe -f wav FILE |, cat FILE |) the file is taken, else the recording is a problem. Entries of archives
(`data.ark:123`) are problems too. Relative paths start where Kaldi's recipe ran: name that folder with `audio_root=`,
otherwise the directory and the folders above it are tried.

    asr prepare kaldi data OUT --language ur                  # data/train, data/dev, data/test
    asr prepare kaldi data/train OUT audio_root=egs/mine/s5
"""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asr.corpora.tables import SPLIT_NAMES, chosen, read_lines
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

_DECODERS: dict[str, frozenset[str]] = {
    "flac": frozenset({"-c", "-d", "-s", "-cd", "-dc", "-cds", "-dcs", "--decode", "--stdout", "--silent"}),
    "sph2pipe": frozenset({"-f", "wav", "-p"}),
    "cat": frozenset(),
}
"""Command → arguments under which it gives a file's sound as it is."""


class _Entry(NamedTuple):
    """A line of a table: its place, its key, and the rest."""

    where: str
    key: str
    value: str


def prepare(raw: Path, *, language: str = "", splits: str = "", audio_root: str = "") -> Iterator[Row | Problem]:
    """Yield the utterances of every data directory.

    Args:
        raw: a data directory, or the folder of several.
        language: code of the language spoken; `utt2lang` wins where it is there.
        splits: comma list of directories; empty = all.
        audio_root: what relative paths in wav.scp start from.

    Yields:
        Rows with `person` from utt2spk and the length of utt2dur or reco2dur; or problems. Without a table `text` all
        are unlabelled; with one, an utterance that it doesn't list is a problem.

    Raises:
        UserError: there is no wav.scp.
    """
    folders = {path.parent.name: path.parent for path in sorted(raw.glob("*/wav.scp"))}
    if (raw / "wav.scp").is_file():
        folders = {raw.name: raw}
    if not folders:
        raise UserError(f"{raw}: neither it nor a folder in it holds a wav.scp; give a Kaldi data directory")
    roots = [Path(audio_root)] if audio_root else [raw, *raw.absolute().parents]
    for name in chosen(splits, list(folders), where=raw, what="data directory"):
        split = SPLIT_NAMES.get(name, "" if folders[name] == raw else name)
        yield from _directory(folders[name], roots, split, language)


def _entries(path: Path) -> Iterator[_Entry]:
    if path.is_file():
        for line, text in read_lines(path):
            key, _, value = text.strip().replace("\t", " ").partition(" ")
            yield _Entry(f"{path}:{line}", key, value.strip())


def _table(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in _entries(path)}


def _directory(folder: Path, roots: list[Path], split: str, language: str) -> Iterator[Row | Problem]:
    audio: dict[str, str | Problem] = {}
    for entry in _entries(folder / "wav.scp"):
        audio[entry.key] = _audio_file(entry, roots)
    texts, persons = _table(folder / "text"), _persons(folder)
    languages, seconds = _table(folder / "utt2lang"), _table(folder / "utt2dur")
    segments = list(_entries(folder / "segments"))
    if not segments:
        seconds = {**_table(folder / "reco2dur"), **seconds}
    for entry in segments or [_Entry(e.where, e.key, e.key) for e in _entries(folder / "wav.scp")]:
        if texts and not texts.get(entry.key):
            yield Problem(entry.where, f"'{entry.key}' is not in {folder / 'text'}, or has no words there", "no_text")
            continue
        try:
            recording, start, end = _span(entry)
            path = audio.get(recording) or Problem(entry.where, f"'{recording}' is not in wav.scp", "missing")
            if isinstance(path, Problem):
                yield path
                continue
            announced = float(seconds[entry.key]) if entry.key in seconds and not segments else None
            clip = Clip(
                id=entry.key,
                path=path,
                kind="audio",
                start_seconds=start,
                end_seconds=end,
                num_frames=None if announced is None else round(announced * 1000),
                rate_hz=None if announced is None else 1000.0,
                text=" ".join(texts.get(entry.key, "").split()),
                language=languages.get(entry.key, language),
                person=persons.get(entry.key, ""),
                split=split,
            )
            yield Row(clip, entry.where)
        except ValueError as error:
            yield Problem(entry.where, f"{error}; correct the line", "invalid")


def _span(entry: _Entry) -> tuple[str, float, float | None]:
    """Recording, start and end in seconds of a line of `segments`; an end of -1 is the end of the recording.

    Raises:
        ValueError: the line is something else.
    """
    parts = entry.value.split()
    if len(parts) == 1:  # a line of wav.scp: the entire recording
        return parts[0], 0.0, None
    if len(parts) not in (3, 4):
        raise ValueError(f"expected utterance, recording, start and end, got '{entry.key} {entry.value}'")
    end = float(parts[2])
    return parts[0], float(parts[1]), None if end < 0 else end


def _persons(folder: Path) -> dict[str, str]:
    """Utterance → speaker, from utt2spk, else from spk2utt."""
    persons = _table(folder / "utt2spk")
    if not persons:
        for entry in _entries(folder / "spk2utt"):
            persons.update(dict.fromkeys(entry.value.split(), entry.key))
    # without speakers Kaldi wants every utterance to be its own: that says nothing about people
    return {} if all(key == value for key, value in persons.items()) else persons


def _audio_file(entry: _Entry, roots: list[Path]) -> str | Problem:
    """The file that a line of wav.scp stands for."""
    value = entry.value
    if value.endswith("|"):
        try:
            command, *arguments = shlex.split(value[:-1])
        except ValueError:
            command, arguments = "", []
        harmless = _DECODERS.get(os.path.basename(command))
        files = [argument for argument in arguments if argument not in (harmless or ())]
        if harmless is None or len(files) != 1 or files[0].startswith("-"):
            reason = f"'{entry.key}' is the output of a command, which is not run; decode it to a file: {value[:60]}"
            return Problem(entry.where, reason, "command")
        value = files[0]
    archive, _, offset = value.rpartition(":")
    if archive.endswith(".ark") and offset.isdigit():
        return Problem(entry.where, f"'{entry.key}' lies in the archive {archive}; unpack it to wav files", "archive")
    if not value:
        return Problem(entry.where, f"'{entry.key}' has no file", "missing")
    return str(next((path for root in roots if (path := root / value).is_file()), roots[0] / value))
