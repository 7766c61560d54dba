"""Gather the evidence about languages from files: manifests, texts, phone lists, and lang2vec where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asr.donors.gain import Curve
from asr.donors.overlap import letter_counts
from asr.donors.planning import Evidence, Mixture, Plan, closest_with_speech, plan
from asr.donors.typology import Uriel
from signwave import command, manifest
from signwave.command import Failure
from signwave.errors import UserError
from signwave.manifest import Clip


@dataclass(frozen=True)
class Given:
    """What the user has, by code of a language.

    Attributes:
        target: the language to be recognised.
        donors: possible donors beside those that the rest names.
        manifests: recordings.
        hours: hours at hand; they win over those of the manifests.
        texts: text files.
        phones: files of phones.
        encoder: folder of a speech encoder for acoustic tokens; None = log-mel.
        device: for the encoder.
        max_hours: of each language to listen to.
    """

    target: str
    donors: tuple[str, ...] = ()
    manifests: Mapping[str, Path] = field(default_factory=dict)
    hours: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, Path] = field(default_factory=dict)
    phones: Mapping[str, Path] = field(default_factory=dict)
    encoder: Path | None = None
    device: str = "cpu"
    max_hours: float = 5.0

    @property
    def candidates(self) -> list[str]:
        """Every language that is named, but the target."""
        named = [*self.donors, *self.manifests, *self.hours, *self.texts, *self.phones]
        return [language for language in dict.fromkeys(named) if language != self.target]


def gather(
    given: Given, *, mixture: Mixture, curve: Curve | None = None, quiet: bool = True
) -> tuple[Plan, list[Failure]]:
    """Rank the donors by all evidence there is; without any donor named, the closest of those with a public corpus.

    Returns:
        the plan, and the recordings that could not be read.

    Raises:
        UserError: no donor and no lang2vec, an unknown target, or a file that can't be used.
    """
    uriel = Uriel.load() if Uriel.is_there() else None
    candidates = given.candidates
    if uriel is None:
        command.say("typology is left out: the package 'lang2vec' is not installed (signwave[donors])")
    elif not candidates:
        candidates = closest_with_speech(uriel, given.target)
    clips = {language: list(manifest.read(path)) for language, path in given.manifests.items()}
    hours = {language: sum(clip.duration_seconds or 0.0 for clip in own) / 3600 for language, own in clips.items()}
    atds, failures = _atds(given, clips, quiet=quiet)
    evidence = Evidence(
        uriel=uriel,
        atds=atds,
        phones={language: _phones(path) for language, path in given.phones.items()},
        letters=_letters(given, clips),
        hours={**hours, **given.hours},
    )
    return plan(given.target, candidates, evidence, mixture=mixture, curve=curve), failures


def _atds(given: Given, clips: Mapping[str, list[Clip]], *, quiet: bool) -> tuple[dict[str, float], list[Failure]]:
    if given.target not in clips or len(clips) < 2:
        return {}, []
    from asr.donors.acoustic_tokens import hear, similarities
    from asr.donors.frames import EncoderFrames, FrameFeatures, mel_frames

    features: FrameFeatures = mel_frames
    if given.encoder is not None:
        features = EncoderFrames.load(given.encoder, device=given.device)
    heard = {language: hear(own, features, max_hours=given.max_hours, quiet=quiet) for language, own in clips.items()}
    found = similarities({language: own.frames for language, own in heard.items()}, given.target)
    return found, [failure for own in heard.values() for failure in own.failures]


def _letters(given: Given, clips: Mapping[str, list[Clip]]) -> dict[str, Mapping[str, int]]:
    found: dict[str, Mapping[str, int]] = {
        language: letter_counts(clip.text for clip in own) for language, own in clips.items()
    }
    found |= {language: letter_counts(_read(path).splitlines()) for language, path in given.texts.items()}
    return {language: counts for language, counts in found.items() if counts}


def _phones(path: Path) -> frozenset[str]:
    found = frozenset(_read(path).split())
    if not found:
        raise UserError(f"{path}: holds no phones; write them separated by spaces or lines")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read as UTF-8 text ({error}); check the path and the encoding") from error
