"""Frame folders and long recordings, re-encoded to what a loader reads fast: short videos, or shards of JPEG pictures.

    report = pack_all(clips, out_dir, settings=PackSettings(size_px=(256, 256)), num_workers=8)
    manifest.write(out_dir / "train.jsonl.gz", report.clips)

A clip becomes `SPLIT/ID.mp4` (h264 without what is slow to decode, a key frame every half second) or the folder
`ID/000000.jpg` … inside `SPLIT/shard-00000.zip`, stored and not deflated; `open_video` reads both. Every packed clip is
decoded again and held against its source: the number of frames must be equal, the PSNR of a sample is reported. What is
done is noted in `packed.jsonl`, so that an interrupted run goes on where it stood and changed clips are packed anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from signwave.command import progress
from signwave.errors import ManifestError, MediaError, UserError
from signwave.manifest import Clip
from signwave.media.paths import split_member
from signwave.prepare import Problem
from slr.corpora.packed_files import Container, Packed, PackSettings, safe_name, write_file

__all__ = ["Container", "PackReport", "PackSettings", "Packed", "pack", "pack_all"]

JOURNAL = "packed.jsonl"
_VERSION = 1  # packed anew when what is written changes


@dataclass
class PackReport:
    """What `pack_all` did.

    Attributes:
        clips: the packed clips in the order of the sources, without those that failed.
        problems: clips that couldn't be packed.
        num_reused: clips that an earlier run had packed.
        num_bytes: size of all packed files.
        psnr_mean_db: mean over the clips of the PSNR of a sample of their frames; None without clips.
        psnr_min_db: the least of them.
        psnr_min_id: the clip it belongs to.
    """

    clips: list[Clip] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    num_reused: int = 0
    num_bytes: int = 0
    psnr_mean_db: float | None = None
    psnr_min_db: float | None = None
    psnr_min_id: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values, for `prepare.json`."""
        named = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}
        return named | {"clips": len(self.clips), "problems": len(self.problems)}

    def summary(self) -> str:
        """One line for people."""
        text = f"packed {len(self.clips)} clips ({self.num_reused} of them before), {self.num_bytes / 2**20:.1f} MiB"
        if self.psnr_mean_db is not None:
            text += f", PSNR {self.psnr_mean_db:.1f} dB, at least {self.psnr_min_db:.1f} dB ({self.psnr_min_id})"
        return text + (f"; {len(self.problems)} failed" if self.problems else "")


def pack(
    clip: Clip,
    out_dir: str | Path,
    *,
    size_px: tuple[int, int],
    container: Container = "video",
    crf: int = PackSettings.crf,
    quality: int = PackSettings.quality,
    keyframe_interval: int = PackSettings.keyframe_interval,
) -> Clip:
    """Pack one clip, or the span of a recording that it names.

    Args:
        clip: a video clip; its keypoints are cut to the span where it is one.
        out_dir: folder for the packed file.
        size_px: (height, width) of the packed frames.
        container: "video" for an mp4, "jpeg" for a zip of pictures.
        crf: quality of "video", 0 (lossless) to 51.
        quality: quality of "jpeg", 1 to 95.
        keyframe_interval: frames between the key frames of "video".

    Returns:
        The clip at its new path, from 0 to its end, with its length, rate and the SHA-256 of what was written.

    Raises:
        MediaError: the source can't be decoded whole, or the packed file doesn't hold every frame.
    """
    settings = PackSettings(size_px, container, crf, keyframe_interval, quality)
    suffix = "mp4" if container == "video" else "zip"
    file = Path(out_dir) / f"{safe_name(clip.id)}.{suffix}"
    done = _run(_Job(file, (clip,), settings))
    if done.errors:
        raise done.errors[0]
    return done.packed[0].clip


def pack_all(
    clips: Iterable[Clip],
    out_dir: str | Path,
    *,
    settings: PackSettings,
    num_workers: int = 0,
    show_progress: bool = True,
) -> PackReport:
    """Pack the clips of a corpus, in processes, going on where an earlier run stopped.

    Args:
        clips: video clips of one or several splits.
        out_dir: folder for the packed files and `packed.jsonl`.
        settings: how.
        num_workers: processes; 0 packs in this one.
        show_progress: show the progress on stderr.

    Returns:
        The packed clips, the problems, and how like the sources the packed frames are.

    Raises:
        ManifestError: two clips of a split have one id, or one is no video.
        UserError: a worker process died, e.g. for lack of memory.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    jobs = _jobs(list(clips), out, settings)
    before = _read_journal(out)
    found = {job.file: done for job in jobs if (done := before.get(job.file)) and done.key == job.key}
    todo = [job for job in jobs if job.file not in found]
    report = PackReport(num_reused=sum(len(done.packed) for done in found.values()))
    results = _results(todo, num_workers)
    with open(out / JOURNAL, "a", encoding="utf-8") as journal:
        journal.write("\n")  # ends a line that was cut off when an earlier run was killed
        for done in progress(results, "packing", total=len(todo), quiet=not show_progress):
            found[done.file] = done
            if not done.errors:  # what failed is tried again
                journal.write(_line(done, out))
                journal.flush()
    for job in jobs:
        done = found[job.file]
        report.clips += [packed.clip for packed in done.packed]
        report.problems += [Problem(error.path, str(error), error.kind) for error in done.errors]
        report.num_bytes += done.num_bytes
    _note_likeness(report, [packed for job in jobs for packed in found[job.file].packed])
    return report


class _Job(NamedTuple):
    """One file to write and the clips that go into it."""

    file: Path
    clips: tuple[Clip, ...]
    settings: PackSettings

    @property
    def key(self) -> str:
        """Changes with the sources, the spans and the settings."""
        digest = hashlib.sha256(repr((_VERSION, self.settings)).encode())
        for clip in self.clips:
            head, _ = split_member(clip.path)
            state = os.stat(head) if os.path.exists(head) else None
            digest.update(repr((clip.to_dict(), state and (state.st_size, state.st_mtime_ns))).encode())
        return digest.hexdigest()


class _Done(NamedTuple):
    """What became of one job."""

    file: Path
    key: str
    packed: list[Packed]
    num_bytes: int
    errors: list[MediaError]


def _jobs(clips: list[Clip], out: Path, settings: PackSettings) -> list[_Job]:
    by_split: dict[str, list[Clip]] = {}
    seen = set()
    for clip in clips:
        if (clip.split, clip.id) in seen:
            raise ManifestError(f"two clips of split '{clip.split}' have the id {clip.id!r}; ids must differ")
        if clip.kind != "video":
            raise ManifestError(f"clip {clip.id!r} is of kind '{clip.kind}'; only video is packed, leave it out")
        seen.add((clip.split, clip.id))
        by_split.setdefault(clip.split, []).append(clip)
    jobs = []
    for split, members in by_split.items():
        folder = out / safe_name(split) if split else out
        if settings.container == "video":
            jobs += [_Job(folder / f"{safe_name(clip.id)}.mp4", (clip,), settings) for clip in members]
            continue
        for number, first in enumerate(range(0, len(members), settings.clips_per_shard)):
            shard = tuple(members[first : first + settings.clips_per_shard])
            jobs.append(_Job(folder / f"shard-{number:05d}.zip", shard, settings))
    return jobs


def _results(jobs: Sequence[_Job], num_workers: int) -> Iterator[_Done]:
    """Do the jobs, in any order."""
    if num_workers <= 0:
        yield from map(_run, jobs)
        return
    # Decoders hold threads, which a forked process would miss.
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_run, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that packs clips died (out of memory, or a decoder crashed); what is done is kept: "
                "run it again with fewer workers, or with 0 to see which clip it is"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run(job: _Job) -> _Done:
    """Write one file and check it."""
    key = job.key
    packed, errors = write_file(job.file, job.clips, job.settings)
    return _Done(job.file, key, packed, job.file.stat().st_size if packed else 0, errors)


def _note_likeness(report: PackReport, packed: Sequence[Packed]) -> None:
    if packed:
        worst = min(packed, key=lambda one: one.psnr_db)
        report.psnr_mean_db = round(sum(one.psnr_db for one in packed) / len(packed), 3)
        report.psnr_min_db, report.psnr_min_id = worst.psnr_db, worst.clip.id


def _line(done: _Done, out: Path) -> str:
    """A finished file as a line of the journal; paths inside the folder stay right when it is moved."""
    rows = []
    for packed in done.packed:
        row = packed.clip.to_dict()
        for name in {"path", "poses_path"} & set(row):
            row[name] = _below(out, row[name])
        rows.append([row, packed.psnr_db])
    written = {"file": _below(out, str(done.file)), "key": done.key, "num_bytes": done.num_bytes, "clips": rows}
    return json.dumps(written, ensure_ascii=False) + "\n"


def _below(out: Path, path: str) -> str:
    absolute, folder = os.path.abspath(path), os.path.abspath(out)
    return os.path.relpath(absolute, folder) if absolute.startswith(folder + os.sep) else path


def _read_journal(out: Path) -> dict[Path, _Done]:
    """What earlier runs finished and what is still there as they left it, by file."""
    found: dict[Path, _Done] = {}
    if not (out / JOURNAL).exists():
        return found
    for line in (out / JOURNAL).read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            file = out / row["file"]
            packed = [Packed(_clip(fields, out), psnr_db) for fields, psnr_db in row["clips"]]
            found[file] = _Done(file, row["key"], packed, row["num_bytes"], [])
        except (ValueError, KeyError, TypeError, ManifestError):
            continue  # a line cut off when the run was killed: the file is packed again
    return {file: done for file, done in found.items() if file.exists() and file.stat().st_size == done.num_bytes}


def _clip(fields: dict[str, Any], out: Path) -> Clip:
    paths = {name: str(out / fields[name]) for name in ("path", "poses_path") if fields.get(name)}
    return Clip.from_dict(fields | paths)
