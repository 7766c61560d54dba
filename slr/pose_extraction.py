"""Extract keypoints of videos with MediaPipe holistic, as `.pose` files with pose-format's names.

MediaPipe 0.10.21, the last release that carries its models, needs a protobuf older than other packages allow. So it runs
in an environment of its own, as a child process (slr.mediapipe_worker) that gets pictures and gives landmarks. Videos
are decoded here, by the decoder that recognition uses: whatever `open_video` reads can be extracted, and the keypoints
have the times of the frames. Files that are there already are kept; a crash of the child costs one clip.
"""

from __future__ import annotations

import json
import os
import queue
import select
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import MediaError, UserError
from signwave.media.poses import write_pose
from signwave.media.video import open_video
from signwave.prepare import Problem
from slr.pose_import import ImportReport, pose_path

FloatArray = NDArray[np.float32]

PYTHON_VARIABLE = "SIGNWAVE_POSE_PYTHON"
_WORKER = Path(__file__).with_name("mediapipe_worker.py")
_START_SECONDS = 120.0
_FRAME_SECONDS = 60.0
_HOW_TO = (
    "MediaPipe needs an environment of its own (its protobuf is older than this one's); make it with: "
    "python3.11 -m venv ~/pose-env && ~/pose-env/bin/pip install --no-deps mediapipe==0.10.21 && "
    "~/pose-env/bin/pip install absl-py attrs flatbuffers matplotlib numpy opencv-python-headless 'protobuf<5' && "
    f"export {PYTHON_VARIABLE}=~/pose-env/bin/python (or name it with --pose-python)"
)


class Component(NamedTuple):
    """A component of the landmarks: which of them it keeps, their names, and its limbs between those kept."""

    name: str
    kept: tuple[int, ...]
    points: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]


class WorkerError(Exception):
    """The child ended or gives no answer; the message ends with what it wrote last."""


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
        out_dir: folder of the `.pose` files, see slr.pose_import.pose_path.
        pose_python: a Python that has mediapipe; otherwise that of $SIGNWAVE_POSE_PYTHON, otherwise this one.
        num_workers: child processes; each keeps a core or two busy.
        whole_face: keep all 468 points of the face instead of the 128 of its contours, lips among them.
        picture_fps: rate of folders of pictures.
        show_progress: show the progress on stderr.

    Raises:
        UserError: there is no Python with mediapipe; the message says how to make one.
    """
    python = find_python(pose_python)
    problems: list[Problem] = []
    wanted: list[tuple[str, str, Path]] = []
    for clip, video in videos.items():
        try:
            wanted.append((clip, str(video), pose_path(out_dir, clip)))
        except UserError as error:
            problems.append(Problem(str(video), str(error)))
    missing = [job for job in wanted if not job[2].exists()]
    written = 0
    with _Pool(python, num_workers) as pool:
        done: Iterable[Problem | None] = pool.map(missing, whole_face=whole_face, picture_fps=picture_fps)
        if show_progress:
            from signwave.command import progress  # the command layer is needed only when somebody watches

            done = progress(done, "extracting keypoints", total=len(missing))
        for problem in done:
            written += problem is None
            problems += [] if problem is None else [problem]
    return ImportReport(written, len(wanted) - len(missing), tuple(problems))


def find_python(pose_python: str | None = None) -> str:
    """The Python that runs MediaPipe: as named, else by $SIGNWAVE_POSE_PYTHON, else this one.

    Raises:
        UserError: it isn't there, or has no mediapipe with its holistic solution.
    """
    python = pose_python or os.environ.get(PYTHON_VARIABLE) or sys.executable
    check = "import mediapipe; mediapipe.solutions.holistic.Holistic"
    try:
        result = subprocess.run([python, "-I", "-c", check], capture_output=True, timeout=_START_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"the Python '{python}' can't be run ({error}); {_HOW_TO}") from error
    if result.returncode != 0:
        last = (result.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise UserError(f"the Python '{python}' has no MediaPipe that extracts keypoints ({last[:200]}); {_HOW_TO}")
    return python


@dataclass
class _Pool:
    """Clips shared out over threads, each with a child of its own."""

    python: str
    num_workers: int

    def __post_init__(self) -> None:
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._workers = [Worker(self.python) for _ in range(self.num_workers)]
        for worker in self._workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(self.num_workers)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def map(
        self, jobs: list[tuple[str, str, Path]], *, whole_face: bool, picture_fps: float
    ) -> Iterator[Problem | None]:
        """Extract each clip; what is wrong with it, or None, in their order."""

        def one(job: tuple[str, str, Path]) -> Problem | None:
            worker = self._free.get()
            try:
                return _extract_one(worker, *job, whole_face=whole_face, picture_fps=picture_fps)
            finally:
                self._free.put(worker)

        return self._threads.map(one, jobs)


def _extract_one(
    worker: Worker, clip: str, video: str, path: Path, *, whole_face: bool, picture_fps: float
) -> Problem | None:
    try:
        found, fps, size_px = worker.landmarks(video, picture_fps=picture_fps)
    except (MediaError, WorkerError) as error:
        kind = error.kind if isinstance(error, MediaError) else "unreadable"
        return Problem(video, f"{video}: clip '{clip}': {error}", kind)
    components = worker.components(whole_face=whole_face)
    kept = [index for component in components for index in component.kept]
    write_pose(
        path,
        components={component.name: component.points for component in components},
        points=found[:, kept, :3],
        confidence=found[:, kept, 3],
        fps=fps,
        size_px=size_px,
        limbs={component.name: component.limbs for component in components},
    )
    return None


class Worker:
    """One child process that finds landmarks; it is started when it is needed, and again after it has ended."""

    def __init__(self, python: str, *, frame_seconds: float = _FRAME_SECONDS, script: Path = _WORKER) -> None:
        self._command = [python, "-I", str(script)]
        self._frame_seconds = frame_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._hello: dict[str, Any] = {}

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        if self._log is not None:
            self._log.close()
        self._process = self._log = None

    def components(self, *, whole_face: bool) -> list[Component]:
        """The components of the landmarks, once the child has said them."""
        result, first = [], 0
        for name, points, limbs in self._hello["components"]:
            contours = sorted({point for limb in limbs for point in limb})
            kept = contours if name == "FACE_LANDMARKS" and not whole_face else list(range(len(points)))
            place = {index: i for i, index in enumerate(kept)}
            result.append(
                Component(
                    name,
                    tuple(first + index for index in kept),
                    tuple(points[index] for index in kept),
                    tuple((place[a], place[b]) for a, b in limbs),
                )
            )
            first += len(points)
        return result

    def landmarks(self, video: str, *, picture_fps: float = 25.0) -> tuple[FloatArray, float, tuple[int, int]]:
        """Landmarks of a whole video at its average rate: (T, J, 4) float32 x, y, z, confidence; rate; (height, width).

        Raises:
            MediaError: the video can't be decoded.
            WorkerError: the child crashed or hangs; the next call starts another one.
        """
        found: list[FloatArray] = []
        times: list[float] = []
        try:
            with open_video(video, fps=picture_fps) as source, closing(source.iter_frames(num_frames=16)) as pieces:
                size_px = (source.height_px, source.width_px)
                self._start()
                self._send(json.dumps({"height": size_px[0], "width": size_px[1]}).encode() + b"\n")
                waiting = False
                for piece in pieces:
                    for pixels, pts in zip(piece.pixels, piece.pts_seconds):
                        # The next picture is decoded while the child works on this one.
                        found += [self._receive()] if waiting else []
                        self._send(b"F" + np.ascontiguousarray(pixels.transpose(1, 2, 0)).tobytes())
                        times.append(float(pts))
                        waiting = True
                found.append(self._receive())
                self._send(b"E")
                fps = source.fps
        except BaseException:
            # The child stands in the middle of a clip.
            self.close()
            raise
        return np.stack(found)[_steady(np.asarray(times), fps)], fps, size_px

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, bufsize=0
        )
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(1 << 16, _START_SECONDS)
        self._hello = json.loads(line)
        self._num_points = sum(len(points) for _, points, _ in self._hello["components"])

    def _send(self, data: bytes) -> None:
        process = self._running()
        view = memoryview(data)
        try:
            while view:
                _, ready, _ = select.select([], [process.stdin], [], self._frame_seconds)
                if not ready:
                    raise self._failed(f"takes no picture for {self._frame_seconds:g} s")
                view = view[os.write(process.stdin.fileno(), view[: 1 << 16]) :]  # type: ignore[union-attr]
        except BrokenPipeError as error:
            raise self._failed("ended") from error

    def _receive(self) -> FloatArray:
        size = 16 * self._num_points
        data = b""
        while len(data) < size:
            data += self._read(size - len(data), self._frame_seconds)
        return np.frombuffer(data, dtype="<f4").reshape(-1, 4).astype(np.float32)

    def _read(self, num_bytes: int, seconds: float) -> bytes:
        process = self._running()
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        if not ready:
            raise self._failed(f"gives no answer for {seconds:g} s")
        data = os.read(process.stdout.fileno(), num_bytes)  # type: ignore[union-attr]
        if not data:
            raise self._failed("ended")
        return data

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise WorkerError("the extraction process isn't running")
        return self._process

    def _failed(self, how: str) -> WorkerError:
        said = ""
        if self._log is not None:
            self._log.seek(0)
            lines = self._log.read()[-2000:].decode(errors="replace").strip().splitlines()
            said = f": {lines[-1][:200]}" if lines else ""
        return WorkerError(f"the extraction process ({shlex.join(self._command)}) {how}{said}; leave the clip out")


def _steady(times: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
    """(T,) int64, which frame is nearest to i / fps: frames of a varying rate at a steady one.

    times: (N,) float64 seconds, rising.
    """
    times = times - times[0]
    num_frames = max(1, round((times[-1] + 1 / fps) * fps))
    wanted = np.arange(num_frames) / fps
    after = np.searchsorted(times, wanted).clip(0, len(times) - 1)
    before = (after - 1).clip(0)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after).astype(np.int64)
