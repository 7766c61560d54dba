"""A trained recogniser in use: load a run folder, read a pose file, get glosses with times and confidences."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from signwave import bundle, ctc
from signwave.bundle import Bundle
from signwave.command import Failure, pick_device
from signwave.errors import ArtefactError, MediaError, UserError
from signwave.inputs import InputFile
from signwave.transcript import ModelName, Transcript, Word, split_at_pauses
from slr.medium import PAUSE_SECONDS
from slr.models.pose_conv import PoseConv
from slr.poses import HandClip, NoHandError, read_clip

KIND = "slr.pose_conv"
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg")


class Recognizer:
    """A model that names signs.

    >>> recognizer = Recognizer.load("runs/fingerspelling_ctc")      # doctest: +SKIP
    >>> recognizer("hello.pose").text                                # doctest: +SKIP
    'H E L L O'

    Args:
        stored: a bundle of the kind "slr.pose_conv".
        device: cpu, cuda or cuda:N.

    Raises:
        ArtefactError: the bundle holds another kind of model, or lacks a part.
    """

    def __init__(self, stored: Bundle, *, device: str = "cpu") -> None:
        if stored.kind != KIND:
            raise ArtefactError(f"{stored.folder}: a model of kind '{stored.kind}', not '{KIND}'; name another run")
        if stored.vocabulary is None or "rate_hz" not in stored.info:
            raise ArtefactError(f"{stored.folder}: has no vocabulary or no rate_hz; export the model again")
        self.vocabulary = stored.vocabulary
        self.rate_hz = float(stored.info["rate_hz"])
        self.name = ModelName(str(stored.info.get("name", stored.kind)), stored.digest)
        self.device = device
        self.model = _build(stored).to(device).eval()

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> Recognizer:
        """Open a run folder or a bundle folder on auto, cpu, cuda or cuda:N."""
        return cls(bundle.load(path), device=pick_device(device))

    def __call__(self, path: str | Path, *, start_seconds: float = 0.0, end_seconds: float | None = None) -> Transcript:
        """Recognise a clip, or a span of it; times are those of the file.

        Args:
            path: a `.pose` file.
            start_seconds: first instant.
            end_seconds: instant to stop before.

        Raises:
            MediaError: the file can't be used; for a video, the message says how to get its poses.
        """
        started = time.perf_counter()
        if Path(path).suffix.lower() in VIDEO_SUFFIXES:
            reason = (
                "is a video, and this model reads poses; extract them first: pip install pose-format mediapipe, "
                "then video_to_pose --format mediapipe -i VIDEO -o CLIP.pose"
            )
            raise MediaError(path, reason, kind="refused")
        try:
            clip = read_clip(path, rate_hz=self.rate_hz, start_seconds=start_seconds, end_seconds=end_seconds)
        except NoHandError as error:
            return Transcript(
                file=str(path),
                status="empty",
                duration_seconds=error.duration_seconds,
                model=self.name,
                warnings=(error.reason,),
            )
        glosses = self.recognize_hands(clip, offset_seconds=start_seconds)
        seconds_spent = time.perf_counter() - started
        return Transcript(
            file=str(path),
            status="ok" if glosses else "empty",
            segments=split_at_pauses(glosses, pause_seconds=PAUSE_SECONDS),
            duration_seconds=clip.duration_seconds,
            rtf=seconds_spent / clip.duration_seconds if clip.duration_seconds else 0.0,
            model=self.name,
        )

    def transcribe_files(self, files: Iterable[InputFile], *, fail_fast: bool = False) -> Iterator[Transcript]:
        """Recognise files one after the other.

        Args:
            files: the inputs; read as results are asked for.
            fail_fast: raise the error of a file that can't be used, instead of yielding a transcript of status
                "failed" and going on.
        """
        for file in files:
            try:
                transcript = self(file.path)
            except UserError as error:
                if fail_fast:
                    raise
                transcript = Transcript(status="failed", model=self.name, error=Failure.of(file.name, error))
            yield replace(transcript, file=file.name, sha256=file.sha256)

    def recognize_hands(self, clip: HandClip, *, offset_seconds: float = 0.0) -> tuple[Word, ...]:
        """The glosses of hands that have been read already, their times moved by `offset_seconds`."""
        inputs = torch.from_numpy(clip.hands).flatten(1)[None].to(self.device)
        with torch.inference_mode():
            encoded = self.model(inputs, torch.tensor([len(clip.hands)], device=self.device))
        (best,) = ctc.greedy(encoded.log_probs, encoded.num_steps)
        # Step i looks at the frames around i * stride, so it stands for half a stride to either side of it.
        stride_seconds = self.model.stride / self.rate_hz
        clock = ctc.Clock(
            stride_seconds=stride_seconds,
            offset_seconds=offset_seconds - stride_seconds / 2,
            start_seconds=offset_seconds,
            end_seconds=offset_seconds + clip.duration_seconds,
        )
        return tuple(ctc.words(best, tokens=self.vocabulary.tokens, clock=clock))


def _build(stored: Bundle) -> PoseConv:
    try:
        model = PoseConv(**stored.config)
        model.load_state_dict(stored.state_dict())
    except (TypeError, ValueError, RuntimeError) as error:
        detail = str(error).splitlines()[0]
        raise ArtefactError(f"{stored.folder}: its weights don't fit its config ({detail}); export it again") from error
    return model
