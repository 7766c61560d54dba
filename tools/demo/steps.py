"""What the demo does, as commands that a person could type one after the other."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lanes import Step

from signwave import manifest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Demo:
    """Where the demo keeps things, and where its speech comes from."""

    out: Path
    speech_folder: Path | None = None

    @property
    def raw_speech(self) -> Path:
        return self.speech_folder or self.out / "data" / "asterisk"

    @property
    def speech_manifests(self) -> Path:
        return self.out / "data" / "speech"

    def has_speech(self) -> bool:
        """Whether real speech was found and prepared."""
        return (self.speech_manifests / "train.jsonl.gz").is_file()

    def has_donor(self) -> bool:
        return (self.out / "data" / "donor" / "config.json").is_file()


def command(name: str, *arguments: object) -> list[str]:
    """An installed command of this environment."""
    return [str(Path(sys.executable).parent / name), *map(str, arguments)]


def script(path: str, *arguments: object) -> list[str]:
    """A script of this checkout."""
    return [sys.executable, str(ROOT / path), *map(str, arguments)]


def recipe(demo: Demo, stem: str, name: str, *settings: str) -> list[str]:
    """A training run that ends in OUT/NAME; `--resume` makes an interrupted demo go on where it stood."""
    return script(f"recipes/{stem}.py", f"runs_dir={demo.out}", f"name={name}", *settings, "--resume")


def sign_steps(demo: Demo) -> list[Step]:
    """Recognition, then search, on the same recordings."""
    out = demo.out
    return [
        Step(
            "prepare signs",
            lambda: command("slr", "prepare", "fingerspelling", "package", out / "data" / "signs"),
            accept=(0, 3),
        ),
        Step("train signs", lambda: recipe(demo, "slr/fingerspelling_ctc", "signs")),
        Step("make clips", lambda: script("tools/demo/clips.py", "words", out / "clips")),
        Step(
            "recognize",
            lambda: command(
                "slr", "recognize", "--model", out / "signs", out / "clips", "--out", out / "glosses",
                "--format", "json,vtt",
            ),
            accept=(3,),  # one of the clips is damaged on purpose
        ),
        Step(
            "draw posteriors",
            lambda: script("tools/demo/posteriors.py", out / "signs", out / "clips", out / "posteriors"),
        ),
        Step("train search", lambda: recipe(demo, "slr/fingerspelling_retrieval", "search")),
        Step("make gallery", lambda: script("tools/demo/clips.py", "gallery", out / "gallery")),
        Step(
            "build index",
            lambda: command(
                "slr", "index", "build", out / "gallery" / "manifest.jsonl", out / "index", "--model", out / "search"
            ),
        ),
        Step("verify index", lambda: command("slr", "index", "verify", out / "index")),
        Step("search", lambda: script("tools/demo/searches.py", out / "index", out / "searches")),
    ]  # fmt: skip


def speech_steps(demo: Demo) -> list[Step]:
    """Real prompts where they can be had, then three synthesised languages."""
    out = demo.out
    prepare = ["asterisk", demo.raw_speech, demo.speech_manifests]
    if demo.speech_folder:
        prepare = ["folder", demo.speech_folder, demo.speech_manifests, "--language", "en"]
    ready = demo.has_speech
    return [
        Step(
            "fetch speech",
            lambda: script("tools/fetch_asterisk.py", demo.raw_speech),
            optional=True,
            when=lambda: demo.speech_folder is None,
        ),
        Step(
            "prepare speech",
            lambda: command("asr", "prepare", *prepare),
            optional=True,
            when=demo.raw_speech.is_dir,
            accept=(0, 3),
        ),
        Step(
            "convert donor",
            lambda: script("tools/convert_ct2_whisper.py", out / "data" / "donor"),
            when=lambda: not demo.has_donor(),
        ),
        Step(
            "train speech",
            lambda: recipe(
                demo, "asr/asterisk_ctc", "speech", f"data.manifest_dir={demo.speech_manifests}",
                f"model.donor_dir={out / 'data' / 'donor'}",
            ),
            when=ready,
        ),
        Step(
            "transcribe",
            lambda: command(
                "asr", "transcribe", "--model", out / "speech", *test_recordings(demo), "--out", out / "transcripts",
                "--format", "json,srt,txt",
            ),
            when=ready,
            accept=(3,),  # one input is empty and one is damaged, on purpose
        ),
        Step(
            "score",
            lambda: script("tools/demo/scores.py", out / "transcripts", demo.speech_manifests / "test.jsonl.gz"),
            when=ready,
        ),
        Step("train languages", lambda: recipe(demo, "asr/espeak_multilingual_ctc", "languages")),
    ]  # fmt: skip


def test_recordings(demo: Demo) -> Sequence[str]:
    """The held-out recordings, an empty file and a damaged one: the last is named, counted, and harms nothing."""
    folder = demo.out / "data" / "bad"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "damaged.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEnoise")
    held_out = [clip.path for clip in manifest.read(demo.speech_manifests / "test.jsonl.gz")]
    return [*held_out, str(folder / "empty.wav"), str(folder / "damaged.wav")]
