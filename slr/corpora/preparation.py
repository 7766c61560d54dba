"""What `slr prepare` does after the rows of a corpus are checked: repack its clips, find or make their keypoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Finished, Problem

EXTRACT = "extract"
_DEFAULT_RATE_HZ = 25.0


@dataclass
class Preparation:
    """The stages after the check.

    Attributes:
        out_dir: folder of the manifests.
        pack: "video" or "jpeg": how clips are repacked below out_dir/packed; "" leaves them.
        size_px: (height, width) of the repacked frames.
        poses: where keypoints come from: "extract" runs MediaPipe; a folder of `.pose` files, of MMPose's `.json` or
            `.npz` files, or of OpenPose's frame files; one of SLRT's pickles; "" leaves clips without.
        pose_python: a Python that has mediapipe.
        num_workers: processes.
        show_progress: show the progress on stderr.
        figures: what the stages found, for prepare.json.
    """

    out_dir: Path
    pack: str = ""
    size_px: tuple[int, int] = (256, 256)
    poses: str = ""
    pose_python: str | None = None
    num_workers: int = 4
    show_progress: bool = True
    figures: dict[str, Any] = field(default_factory=dict)
    summaries: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Asked before the corpus is read: checking one takes an hour.
        if self.pack not in ("", "video", "jpeg"):
            raise UserError(f"--pack {self.pack}: allowed are video and jpeg")
        if self.poses not in ("", EXTRACT) and not Path(self.poses).exists():
            raise UserError(f"--poses {self.poses}: no such file or folder; or give --poses {EXTRACT} to run MediaPipe")

    def finish(self, clips: list[Clip]) -> Finished:
        """Run the stages on the clips of all splits. Keypoints come first: they are made from the pictures as released.

        Raises:
            UserError: a source of keypoints isn't there, or none of it fits a clip.
        """
        problems: list[Problem] = []
        if not clips:  # each row was a problem, and is told as such
            return Finished([], [])
        for stage in ([self._with_poses] if self.poses else []) + ([self._packed] if self.pack else []):
            clips, found = stage(clips)
            problems += found
        return Finished(clips, problems)

    def _packed(self, clips: list[Clip]) -> Finished:
        from slr.corpora.packing import PackSettings, pack_all

        videos = [clip for clip in clips if clip.kind == "video"]
        report = pack_all(
            videos,
            self.out_dir / "packed",
            settings=PackSettings(self.size_px, self.pack),  # type: ignore[arg-type]
            num_workers=self.num_workers,
            show_progress=self.show_progress,
        )
        self.figures["packed"] = report.to_dict()
        self.summaries.append(report.summary())
        return Finished(report.clips + [clip for clip in clips if clip.kind != "video"], report.problems)

    def _with_poses(self, clips: list[Clip]) -> Finished:
        folder = self.out_dir / "poses"
        if self.poses == EXTRACT:
            return self._extracted(clips, folder)
        folder, problems = self._imported(Path(self.poses), folder, clips)
        files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.pose"))}
        found = [next((files[name] for name in _names(clip) if name in files), None) for clip in clips]
        return self._attached(clips, found, problems)

    def _extracted(self, clips: list[Clip], folder: Path) -> Finished:
        """Keypoints of every file once, however many clips are spans of it."""
        from slr.keypoints.extraction import extract
        from slr.keypoints.imports import pose_path

        first = {clip.path: clip for clip in reversed(clips)}
        names = {path: f"{clip.split}/{clip.id}" if clip.split else clip.id for path, clip in first.items()}
        problems: list[Problem] = []
        for rate_hz in sorted({clip.rate_hz or _DEFAULT_RATE_HZ for clip in first.values()}):
            group = [path for path, clip in first.items() if (clip.rate_hz or _DEFAULT_RATE_HZ) == rate_hz]
            report = extract(
                {names[path]: path for path in group},
                folder,
                pose_python=self.pose_python,
                num_workers=self.num_workers,
                picture_fps=rate_hz,  # pictures don't say their rate; videos ignore this
                show_progress=self.show_progress,
            )
            problems += report.problems
        files = {path: pose_path(folder, name) for path, name in names.items()}
        found = [file if (file := files[clip.path]).is_file() else None for clip in clips]
        return self._attached(clips, found, problems)

    def _imported(self, source: Path, folder: Path, clips: list[Clip]) -> tuple[Path, list[Problem]]:
        """Bring keypoints of other tools into `.pose` files; a folder that holds such files is taken as it is."""
        from slr.keypoints import imports as pose_import

        rate_hz = _rate_of(clips)
        shown = self.show_progress
        if source.is_file():
            from signwave.plain_pickle import read_plain

            found = pose_import.import_coco(
                read_plain(source), folder, rate_hz=rate_hz, where=str(source), show_progress=shown
            )
            return folder, list(found.problems)
        if any(source.rglob("*.pose")):
            return source, []
        if any(source.rglob("*_keypoints.json")):
            found = pose_import.import_openpose(source, folder, rate_hz=rate_hz, show_progress=shown)
        else:
            files = sorted(path for path in source.rglob("*") if path.suffix in (".json", ".npz"))
            if not files:
                raise UserError(
                    f"--poses {source}: holds no .pose, .json or .npz file; give the folder with the keypoints"
                )
            found = pose_import.import_coco_files(files, folder, rate_hz=rate_hz, show_progress=shown)
        return folder, list(found.problems)

    def _attached(self, clips: list[Clip], files: Sequence[Path | None], problems: list[Problem]) -> Finished:
        attached = [
            dataclasses.replace(clip, poses_path=str(file)) if file else clip for clip, file in zip(clips, files)
        ]
        without = [clip for clip, file in zip(clips, files) if file is None]
        if len(without) == len(clips):
            reason = f"; {problems[0]}" if problems else f", such as {clips[0].id}.pose"
            raise UserError(f"--poses {self.poses}: gives none of {len(clips)} clips its keypoints{reason}")
        reason = "has no keypoints; it stays without, and models of keypoints can't read it"
        problems = problems + [Problem(f"clip {clip.id}", reason, "no_poses") for clip in without]
        num = len(clips) - len(without)
        self.figures["poses"] = {"num_clips": num, "num_without": len(without)}
        self.summaries.append(f"keypoints for {num} of {len(clips)} clips")
        return Finished(attached, problems)


def _names(clip: Clip) -> Iterator[str]:
    """What a file of a clip's keypoints may be called, with and without the split, as corpora and SLRT name them.

    A span takes those of its recording: a file named after the span would begin at another time.
    """
    is_span = clip.start_seconds > 0 or clip.end_seconds is not None
    own = Path(clip.path).stem if is_span else clip.id
    for name in (own, f"{own}/1"):
        yield f"{clip.split}/{name}"
        yield f"fullFrame-210x260px/{clip.split}/{name}"
        yield name


def _rate_of(clips: Iterable[Clip]) -> Callable[[str], float]:
    rates = {name: clip.rate_hz or _DEFAULT_RATE_HZ for clip in clips for name in _names(clip)}
    return lambda name: rates.get(name, _DEFAULT_RATE_HZ)
