"""Extract keypoints of videos with MediaPipe holistic, as `.pose` files with pose-format's names.

Videos are decoded by the decoder that recognition uses: whatever `open_video` reads can be extracted, and the keypoints
have the times of the frames. Files that are there already are kept, so a run that was ended goes on where it stopped; a
crash of MediaPipe costs one clip, which is named.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from signwave.errors import MediaError, UserError
from signwave.media.poses import write_pose
from signwave.prepare import Problem
from slr.keypoints.imports import ImportReport, pose_path
from slr.keypoints.landmarks import LandmarkWorker, WorkerError, find_python


class _Job(NamedTuple):
    clip: str
    video: str
    path: Path


def extract(
    videos: Mapping[str, str | Path],
    out_dir: str | Path,
    *,
    pose_python: str | None = None,
    num_workers: int = 1,
    whole_face: bool = False,
    picture_fps: float = 25.0,
    show_progress: bool = False,
) -> ImportReport:
    """Extract the keypoints of videos.

    Args:
        videos: name of the clip → whatever `signwave.media.video.open_video` reads.
        out_dir: folder of the `.pose` files, see slr.keypoints.imports.pose_path.
        pose_python: a Python that has mediapipe; otherwise that of $SIGNWAVE_POSE_PYTHON, otherwise this one.
        num_workers: child processes; each keeps a core or two busy.
        whole_face: keep all 468 points of the face instead of the 128 of its contours, lips among them.
        picture_fps: rate of folders of pictures.
        show_progress: show the progress on stderr.

    Raises:
        UserError: there is no Python with mediapipe; the message says how to make one.
    """
    jobs, problems = _jobs(videos, out_dir)
    missing = [job for job in jobs if not job.path.exists()]
    kept = len(jobs) - len(missing)
    if not missing:
        return ImportReport(0, kept, tuple(problems))
    written = 0
    with WorkerPool(find_python(pose_python), num_workers) as pool:
        done: Iterable[Problem | None] = pool.map(missing, whole_face=whole_face, picture_fps=picture_fps)
        if show_progress:
            from signwave.command import progress  # the command layer is needed only when somebody watches

            done = progress(done, "extracting keypoints", total=len(missing))
        for problem in done:
            written += problem is None
            problems += [] if problem is None else [problem]
    return ImportReport(written, kept, tuple(problems))


def _jobs(videos: Mapping[str, str | Path], out_dir: str | Path) -> tuple[list[_Job], list[Problem]]:
    jobs: list[_Job] = []
    problems: list[Problem] = []
    for clip, video in videos.items():
        try:
            jobs.append(_Job(clip, str(video), pose_path(out_dir, clip)))
        except UserError as error:
            problems.append(Problem(str(video), str(error)))
    return jobs, problems


class WorkerPool:
    """Clips shared out over threads, each with a MediaPipe process of its own."""

    def __init__(self, python: str, num_workers: int) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        self._workers = [LandmarkWorker(python) for _ in range(num_workers)]
        self._free: queue.SimpleQueue[LandmarkWorker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(num_workers)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        # A clip that is under way ends with its process, not after its last frame.
        self._close()
        self._threads.shutdown()
        self._close()

    def _close(self) -> None:
        for worker in self._workers:
            worker.close()

    def map(self, jobs: Iterable[_Job], *, whole_face: bool, picture_fps: float) -> Iterator[Problem | None]:
        """Extract each clip; what is wrong with it, or None, in their order."""

        def one(job: _Job) -> Problem | None:
            worker = self._free.get()
            try:
                return _extract_one(worker, job, whole_face=whole_face, picture_fps=picture_fps)
            finally:
                self._free.put(worker)

        return self._threads.map(one, jobs)


def _extract_one(worker: LandmarkWorker, job: _Job, *, whole_face: bool, picture_fps: float) -> Problem | None:
    try:
        found = worker.landmarks(job.video, picture_fps=picture_fps)
        components = worker.components(whole_face=whole_face)
    except (MediaError, WorkerError) as error:
        reason = error.reason if isinstance(error, MediaError) else str(error)
        kind = error.kind if isinstance(error, MediaError) else "crash"
        return Problem(job.video, f"{job.video}: {reason}", kind)
    kept = [index for component in components for index in component.kept]
    write_pose(
        job.path,
        components={component.name: component.points for component in components},
        points=found.points[:, kept, :3],
        confidence=found.points[:, kept, 3],
        fps=found.fps,
        size_px=found.size_px,
        limbs={component.name: component.limbs for component in components},
    )
    return None
