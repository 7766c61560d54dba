"""`asr prepare`: find the corpus module, read its settings, and check every clip's audio and transcript."""

import difflib
import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from asr import datasets
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import PrepareReport, Problem, Row
from signwave.rundir import sha256_file
from signwave.text import Normaliser, Vocabulary

if TYPE_CHECKING:
    from asr.corpora.splits import Splitter

RATE_HZ = 16_000
MAX_SECONDS = 60.0
DEFAULT_STEP_SECONDS = 0.02
_SILENT_PEAK = 1e-4
_CHUNK_SECONDS = 10.0
_DURATION_SLACK_SECONDS = 0.5  # announced lengths are rounded and include codec padding
_DURATION_SLACK = 0.1

CheckLevel = Literal["decode", "probe", "none"]


def corpora() -> list[str]:
    """Return the names of the corpora that have a module."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(datasets.__path__))


def load_corpus(name: str) -> ModuleType:
    """Import the module of a corpus; the file name is the name.

    Raises:
        UserError: there is none.
    """
    if name.replace("_", "-") not in corpora():
        close = difflib.get_close_matches(name, corpora(), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; your own files are 'folder'"
        raise UserError(f"corpus '{name}': unknown; there are {', '.join(corpora())}{hint}")
    return importlib.import_module(f"asr.datasets.{name.replace('-', '_')}")


def describe(name: str) -> str:
    """Return what a corpus is and which settings it takes."""
    module = load_corpus(name)
    settings = [
        f"{key}={parameter.default!r}"
        for key, parameter in inspect.signature(module.prepare).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    return f"{inspect.getdoc(module) or name}\n\nsettings: {' '.join(settings) or 'none'}"


def read_corpus(name: str, raw: Path, settings: Sequence[str], *, language: str = "") -> Iterator[Row | Problem]:
    """Start reading a corpus.

    Args:
        name: its name, see `corpora`.
        raw: the corpus as distributed.
        settings: `key=value` texts for the keyword arguments of its `prepare`.
        language: for corpora that take one.

    Raises:
        UserError: unknown corpus, folder or setting.
    """
    prepare = load_corpus(name).prepare
    if not raw.exists():
        raise UserError(f"{raw}: no such folder; give the corpus as distributed, unpacked")
    values = parse_settings(prepare, settings)
    if language:
        if "language" not in inspect.signature(prepare).parameters:
            raise UserError(f"--language {language}: the corpus '{name}' has a fixed language; leave the option out")
        values["language"] = language
    rows: Iterator[Row | Problem] = prepare(raw, **values)
    return rows


def split_facts(report: PrepareReport, splitter: "Splitter | None") -> dict[str, Any]:
    """Return how splits were drawn, for the report, and put the warnings into it; nothing where none were."""
    if splitter is None or splitter.drawn is None:
        return {}
    report.warnings += splitter.drawn.warnings
    return {"drawn_splits": splitter.drawn.facts}


def parse_settings(function: Callable[..., Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` texts as keyword arguments of a function, each as the type of the argument's default.

    Raises:
        UserError: unknown key or impossible value.
    """
    allowed = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    values = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or key not in allowed:
            close = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise UserError(
                f"setting '{text}': expected key=value with a key of {', '.join(allowed) or '(none)'}{hint}"
            )
        values[key] = _typed(key, value, allowed[key])
    return values


def _typed(key: str, value: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[value.lower()]
        if isinstance(default, int | float):
            return type(default)(value)
    except (KeyError, ValueError) as error:
        raise UserError(f"setting {key}={value}: expected a value like {default}") from error
    return value


def clip_check(
    level: str,
    *,
    model: Path | None = None,
    max_seconds: float = MAX_SECONDS,
    step_seconds: float = DEFAULT_STEP_SECONDS,
) -> "ClipCheck":
    """Return the check that the options of `asr prepare` ask for.

    Args:
        level: decode, probe or none.
        model: a run whose vocabulary and normaliser the transcripts must fit.
        max_seconds: longer clips are left out.
        step_seconds: time per model step.

    Raises:
        UserError: unknown level, or the model is none.
    """
    if level not in get_args(CheckLevel):
        raise UserError(f"--check {level}: unknown; allowed are {', '.join(get_args(CheckLevel))}")
    known: CheckLevel = level  # type: ignore[assignment]
    if model is None:
        return ClipCheck(level=known, max_seconds=max_seconds, step_seconds=step_seconds)
    from signwave import bundle

    stored = bundle.load(model)
    return ClipCheck(
        level=known,
        normaliser=stored.normaliser,
        vocabulary=stored.vocabulary,
        max_seconds=max_seconds,
        step_seconds=step_seconds,
    )


class MeasuredFile(NamedTuple):
    """What opening an audio file told. `peak` is the largest absolute sample, in [0, 1]."""

    num_samples: int
    rate_hz: float
    peak: float
    sha256: str


def _measure_file(path: str, *, decode: bool) -> MeasuredFile:
    from signwave.media import audio

    if not decode:
        info = audio.probe_audio(path)
        return MeasuredFile(info.num_samples, float(info.rate_hz), 1.0, sha256_file(path))
    num_samples, peak = 0, 0.0
    for chunk in audio.iter_audio(path, chunk_seconds=_CHUNK_SECONDS, rate_hz=RATE_HZ):
        num_samples += chunk.shape[0]
        peak = max(peak, float(np.abs(chunk).max(initial=0.0)))
    return MeasuredFile(num_samples, float(RATE_HZ), peak, sha256_file(path))


@dataclass(frozen=True)
class ClipCheck:
    """Check one clip: its audio decodes, has sound in it, is as long as announced, and its transcript can be learned.

    Call it with a clip; it returns the clip with `num_frames`, `rate_hz` and `sha256` as measured, or the problem.

    Attributes:
        level: decode everything (safe), read the header only (fast), or don't open the audio.
        normaliser: applied to a transcript before it is checked; the manifest keeps the transcript as it is.
        vocabulary: what a transcript may consist of; None = anything.
        step_seconds: time per step of the model that shall learn it: a transcript needs a step per token.
        max_seconds: longer clips are left out.
        files: what was measured so far, by path.
    """

    level: CheckLevel = "decode"
    normaliser: Normaliser | None = None
    vocabulary: Vocabulary | None = None
    step_seconds: float = DEFAULT_STEP_SECONDS
    max_seconds: float = MAX_SECONDS
    files: dict[str, "MeasuredFile"] = field(default_factory=dict, repr=False)

    def __call__(self, clip: Clip) -> Clip | Problem:
        """Return the completed clip, or the problem (its place is filled in by the driver)."""
        measured = clip if self.level == "none" else self._measure(clip)
        if isinstance(measured, Problem):
            return measured
        return self._duration_problem(clip, measured) or self._label_problem(measured) or measured

    def _measure(self, clip: Clip) -> Clip | Problem:
        # A long recording is the file of many clips: it is opened once.
        if clip.path not in self.files:
            self.files[clip.path] = _measure_file(clip.path, decode=self.level == "decode")
        found = self.files[clip.path]
        if found.num_samples == 0:
            return Problem("", f"{clip.path}: holds no audio; record or download it again", "empty")
        if found.peak < _SILENT_PEAK and clip.text:
            return Problem("", f"{clip.path}: is silent, but has a transcript; check the recording", "silent")
        return _with_length(clip, found)

    def _duration_problem(self, clip: Clip, measured: Clip) -> Problem | None:
        seconds, announced = measured.duration_seconds, clip.duration_seconds
        if seconds is None:
            return None
        if seconds > self.max_seconds:
            limit = f"over the limit of {self.max_seconds:g} s; cut it, or raise --max-seconds"
            reason = f"{clip.path}: {seconds:.1f} s, {limit}"
            return Problem("", reason, "too_long")
        if announced is not None and abs(seconds - announced) > max(
            _DURATION_SLACK_SECONDS, _DURATION_SLACK * announced
        ):
            reason = f"{clip.path}: holds {seconds:.2f} s of the {announced:.2f} s announced; download it again"
            return Problem("", reason, "truncated")
        return None

    def _label_problem(self, clip: Clip) -> Problem | None:
        text = self.normaliser(clip.text) if self.normaliser else " ".join(clip.text.split())
        if clip.text and not text:
            return Problem("", f"nothing is left of the transcript '{clip.text[:60]}' after normalising", "no_text")
        if self.vocabulary is not None and (unknown := self.vocabulary.unknown(text)):
            names = ", ".join(repr(token) for token in dict.fromkeys(unknown))
            return Problem("", f"{names} not in the vocabulary (transcript '{text[:60]}')", "label")
        labels = self.vocabulary.encode(text) if self.vocabulary else [ord(char) for char in text]
        needed = len(labels) + sum(left == right for left, right in pairwise(labels))
        steps = int((clip.duration_seconds or 0.0) / self.step_seconds)
        if clip.duration_seconds is not None and needed > steps:
            reason = (
                f"the transcript needs {needed} steps and the clip of {clip.duration_seconds:.2f} s has {steps} "
                f"of {self.step_seconds:g} s; check that they belong together"
            )
            return Problem("", reason, "label_too_long")
        return None


def _with_length(clip: Clip, found: MeasuredFile) -> Clip | Problem:
    """The clip with its measured length: of its span where it has one, else of the file."""
    seconds = found.num_samples / found.rate_hz
    end = seconds if clip.end_seconds is None else clip.end_seconds
    if clip.start_seconds >= seconds or end > seconds + _DURATION_SLACK_SECONDS:
        given = f"[{clip.start_seconds:g}, {end:g}) s"
        return Problem("", f"{clip.path}: the span {given} lies outside the {seconds:.2f} s of audio", "span")
    num_frames = round((min(end, seconds) - clip.start_seconds) * found.rate_hz)
    return replace(clip, num_frames=num_frames, rate_hz=found.rate_hz, sha256=found.sha256)


@dataclass
class CharacterTable:
    """Counts the characters of the transcripts that were kept: what a vocabulary would hold."""

    normaliser: Normaliser | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, clip: Clip) -> None:
        """Add one clip."""
        self.counts.update(self.normaliser(clip.text) if self.normaliser else clip.text)

    def summary(self, *, num_shown: int = 60) -> str:
        """Return the characters in one line, rare ones last."""
        if not self.counts:
            return "no transcripts: clips for pretraining; put NAME.txt beside NAME.wav, or a table in the folder"
        shown = " ".join(char if char.strip() else "␣" for char, _ in self.counts.most_common(num_shown))
        more = f" … and {len(self.counts) - num_shown} more" if len(self.counts) > num_shown else ""
        return f"{len(self.counts)} characters: {shown}{more}"

    def to_dict(self) -> dict[str, int]:
        """Return character → count, most frequent first."""
        return dict(self.counts.most_common())
