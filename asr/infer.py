"""Load a trained run and transcribe: files, arrays or streams, of any length, batched across inputs."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from asr.sources import SAMPLE_RATE_HZ, Audio, Source, file_source, source_of
from signwave.command import Failure
from signwave.ctc import Clock, Hypothesis, greedy, words
from signwave.errors import ArtefactError, MediaError, UserError
from signwave.inputs import InputFile
from signwave.text import SPACE_TOKEN, Vocabulary
from signwave.transcript import ModelName, Transcript, split_at_pauses
from signwave.windows import Passages, Window, windows

SEGMENT_PAUSE_SECONDS = 0.8
_MIN_SAMPLES = SAMPLE_RATE_HZ // 10  # shorter audio is padded to it: encoders need a few frames to give one step
_SILENT_PEAK = 1e-4
_PASSAGE_SECONDS = 60.0
_MIN_FILL = 0.75  # windows in a batch are at least this long relative to the longest: the rest would be padding

_NAMELESS = ModelName()

Decode = Callable[[Tensor, Tensor], list[Hypothesis]]


class SpeechModel(Protocol):
    """What transcription needs of a trained model."""

    stride_seconds: float
    vocabulary: Vocabulary
    language: str

    def log_probs(self, audio_batch: list[Audio]) -> tuple[Tensor, Tensor]:
        """Posteriors of a batch.

        Args:
            audio_batch: B arrays (S,) float32 in [-1, 1], 16 kHz mono.

        Returns:
            (B, T, V) float32 natural log, V[0] is the blank; and (B,) int64 valid steps.
        """


@dataclass
class _Job:
    """The state of one input on its way through the windows."""

    source: Source
    passages: Passages
    num_samples: int = 0
    peak: float = 0.0
    num_pending: int = 0
    num_steps_done: int = 0
    closed: bool = False
    seconds_spent: float = 0.0
    tokens: list[int] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    error: UserError | None = None


class Recognizer:
    """A trained speech model, ready to transcribe.

    >>> recognizer = Recognizer.load("runs/NAME")                      # doctest: +SKIP
    >>> recognizer.transcribe("interview.mp3").text                    # doctest: +SKIP
    """

    def __init__(
        self,
        model: SpeechModel,
        *,
        decode: Decode | None = None,
        name: ModelName = _NAMELESS,
        batch_size: int = 4,
        window_seconds: float = 20.0,
        margin_seconds: float = 2.0,
    ) -> None:
        """Wrap a model.

        Args:
            model: gives posteriors for a batch of audio.
            decode: (log_probs (1, T, V), num_steps (1,)) → one hypothesis with steps and confidences; None = greedy.
            name: what records call the model.
            batch_size: windows of full length per pass; shorter ones are packed to the same number of samples.
            window_seconds: the longest stretch the model sees at once.
            margin_seconds: the part at each inner edge of a window that its neighbour decides.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.model = model
        self.name = name
        self.on_progress: Callable[[str, float], None] | None = None
        """Called with an input's name and the seconds of it that are done, after each batch."""
        self._decode = decode or greedy
        self._samples_per_step = round(model.stride_seconds * SAMPLE_RATE_HZ)
        longest = getattr(model, "max_seconds", None) or window_seconds  # some encoders have positions up to a length
        self._window_steps = int(min(window_seconds, longest) / model.stride_seconds + 1e-6)
        self._margin_steps = round(margin_seconds / model.stride_seconds)
        self._budget = batch_size * self._window_steps * self._samples_per_step
        self._passage_steps = max(2, round(_PASSAGE_SECONDS / model.stride_seconds))
        tokens = model.vocabulary.tokens
        self._space = tokens.index(SPACE_TOKEN) if SPACE_TOKEN in tokens else None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        lm: bool | None = None,
        beam: int | None = None,
        batch_size: int = 4,
    ) -> "Recognizer":
        """Load a run folder or a bundle.

        Args:
            path: runs/NAME, or a bundle folder.
            device: auto, cpu, cuda or cuda:N.
            lm: use the n-gram model in the bundle; None = if there is one.
            beam: hypotheses kept by the beam search; 1 = greedy, None = what the bundle says.
            batch_size: see the constructor.

        Raises:
            ArtefactError: no such bundle, a damaged one, or `lm=True` and it has none.
        """
        from asr.acoustic_model import AcousticModel
        from asr.decoding import make_decoder
        from signwave import bundle
        from signwave.command import pick_device

        stored = bundle.load(path)
        model = AcousticModel(stored, device=pick_device(device))
        name = ModelName(str(stored.info.get("name") or _run_name(Path(path))), stored.digest)
        decode = make_decoder(model, lm=lm, beam=beam)
        return cls(model, decode=decode, name=name, batch_size=batch_size)

    def transcribe(self, audio: str | Path | Audio | Iterable[Audio], *, rate_hz: float = SAMPLE_RATE_HZ) -> Transcript:
        """Transcribe one input.

        Args:
            audio: a file; or (S,) float32 or int16 samples, mono; or an iterable of such chunks.
            rate_hz: sampling rate of arrays; files know theirs.

        Raises:
            MediaError: the file can't be read. (Silence and empty files are results, with status "empty".)
        """
        return next(self.transcribe_many([source_of(audio, rate_hz=rate_hz)], fail_fast=True))

    def transcribe_many(self, sources: Iterable[Source], *, fail_fast: bool = False) -> Iterator[Transcript]:
        """Transcribe inputs in their order, windows of several of them in one batch.

        Args:
            sources: the inputs; read one after the other, as results are asked for.
            fail_fast: raise the error of an input that can't be read, instead of yielding a transcript of status
                "failed" and going on.
        """
        jobs: deque[_Job] = deque()
        waiting: list[tuple[_Job, Window]] = []
        num_waiting = 0
        for source in sources:
            job = _Job(source, Passages(max_steps=self._passage_steps, space=self._space))
            jobs.append(job)
            for window in self._windows(job):
                job.num_pending += 1
                waiting.append((job, window))
                num_waiting += window.samples.shape[0]
                if num_waiting >= self._budget:
                    self._process(waiting)
                    waiting, num_waiting = [], 0
            job.closed = True
            yield from self._finished(jobs, fail_fast=fail_fast)
        self._process(waiting)
        yield from self._finished(jobs, fail_fast=fail_fast)

    def transcribe_files(self, files: Iterable[InputFile], *, fail_fast: bool = False) -> Iterator[Transcript]:
        """Transcribe files as `transcribe_many` does its sources."""
        sources = (file_source(file.path, name=file.name, sha256=file.sha256) for file in files)
        return self.transcribe_many(sources, fail_fast=fail_fast)

    def _windows(self, job: _Job) -> Iterator[Window]:
        cut = windows(
            self._metered(job),
            window_steps=self._window_steps,
            margin_steps=self._margin_steps,
            samples_per_step=self._samples_per_step,
        )
        try:
            for window in cut:
                short = _MIN_SAMPLES - window.samples.shape[0]
                yield window if short <= 0 else window._replace(samples=np.pad(window.samples, (0, short)))
        except MediaError as error:
            if error.kind != "empty":  # a file without a sample is a file in which nothing is said
                job.error = error

    @staticmethod
    def _metered(job: _Job) -> Iterator[Audio]:
        started = time.perf_counter()
        for chunk in job.source.chunks():
            job.num_samples += chunk.shape[0]
            job.peak = max(job.peak, float(np.abs(chunk).max(initial=0.0)))
            job.seconds_spent += time.perf_counter() - started
            yield chunk
            started = time.perf_counter()

    def _process(self, waiting: Sequence[tuple[_Job, Window]]) -> None:
        """Run the model over windows, longest first, then stitch them in their own order."""
        results: dict[int, Tensor] = {}
        for batch in _batches([window.samples.shape[0] for _, window in waiting], self._budget):
            started = time.perf_counter()
            posteriors = self._posteriors([waiting[i][1].samples for i in batch])
            share = (time.perf_counter() - started) / sum(waiting[i][1].samples.shape[0] for i in batch)
            for i, (log_probs, num_steps) in zip(batch, posteriors, strict=True):
                results[i] = waiting[i][1].middle(log_probs, num_steps)
                waiting[i][0].seconds_spent += share * waiting[i][1].samples.shape[0]
        for i, (job, _) in enumerate(waiting):
            job.num_pending -= 1
            if bool(results[i].isnan().any()):
                job.error = ArtefactError(f"{job.source.name}: the model gave NaN; train it again or use --device cpu")
            else:
                self._take(job, job.passages.add(results[i]))
            job.num_steps_done += results[i].shape[0]
            if self.on_progress is not None:
                self.on_progress(job.source.name, job.num_steps_done * self.model.stride_seconds)

    def _posteriors(self, audio: list[Audio]) -> list[tuple[Tensor, int]]:
        """(T, V) posteriors and valid steps per window; a batch that doesn't fit the GPU is halved."""
        try:
            with torch.inference_mode():
                log_probs, num_steps = self.model.log_probs(audio)
        except torch.OutOfMemoryError:
            if len(audio) == 1:
                raise
            half = len(audio) // 2
            return self._posteriors(audio[:half]) + self._posteriors(audio[half:])
        return list(zip(log_probs.float().cpu(), num_steps.tolist(), strict=True))

    def _take(self, job: _Job, passages: Iterator[tuple[int, Tensor]]) -> None:
        """Decode complete passages and append their tokens to the file's."""
        started = time.perf_counter()
        for first_step, log_probs in passages:
            hypothesis = self._decode(log_probs.unsqueeze(0), torch.tensor([log_probs.shape[0]]))[0]
            job.tokens += hypothesis.tokens
            job.steps += [(start + first_step, end + first_step) for start, end in hypothesis.steps]
            job.confidences += hypothesis.confidences
        job.seconds_spent += time.perf_counter() - started

    def _finished(self, jobs: deque[_Job], *, fail_fast: bool) -> Iterator[Transcript]:
        """The transcripts that are complete, from the front: results keep the order of the inputs."""
        while jobs and jobs[0].closed and not jobs[0].num_pending:
            job = jobs.popleft()
            if job.error is None:
                self._take(job, job.passages.finish())
            elif fail_fast:
                raise job.error
            yield self._transcript(job)

    def _transcript(self, job: _Job) -> Transcript:
        duration = job.num_samples / SAMPLE_RATE_HZ
        common = Transcript(
            file=job.source.name,
            sha256=job.source.sha256,
            duration_seconds=duration,
            rtf=job.seconds_spent / duration if duration else 0.0,
            language=self.model.language,
            model=self.name,
        )
        if job.error is not None:
            return replace(common, status="failed", error=Failure.of(job.source.name, job.error))
        found = words(
            Hypothesis(tuple(job.tokens), 0.0, tuple(job.steps), tuple(job.confidences)),
            tokens=self.model.vocabulary.tokens,
            clock=Clock(stride_seconds=self.model.stride_seconds, end_seconds=duration),
            boundary=word_boundary(self.model.vocabulary),
        )
        segments = split_at_pauses(found, pause_seconds=SEGMENT_PAUSE_SECONDS)
        if segments:
            return replace(common, segments=segments)
        warning = "no audio" if not job.num_samples else "silence" if job.peak < _SILENT_PEAK else "nothing recognised"
        return replace(common, status="empty", warnings=(warning,))


def word_boundary(vocabulary: Vocabulary) -> int | None:
    """Return the token between words; None where each token is a word, -1 where all of them make one."""
    if vocabulary.unit == "word":
        return None
    return vocabulary.tokens.index(SPACE_TOKEN) if SPACE_TOKEN in vocabulary.tokens else -1


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, whose padded size stays within the budget."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batch[0]] if batch else 0
        if batch and ((len(batch) + 1) * longest > budget or lengths[i] < _MIN_FILL * longest):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _run_name(path: Path) -> str:
    """The name of the run: its folder's, not that of the bundle in it."""
    path = path.absolute()
    return path.parent.name if path.name == "bundle" else path.name
