"""`asr leaks`: thin, no logic; everything heavy is imported when the command runs."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from asr.commands.similar import IndexFolder
from signwave import command
from signwave.errors import UserError
from signwave.options import AsJson, Quiet, examples, to_json

LEAKS_EXAMPLES = examples(
    "asr leaks data/cv-ur/train.jsonl.gz data/cv-ur/dev.jsonl.gz data/cv-ur/test.jsonl.gz",
    "asr leaks data/radio/manifest.jsonl.gz data/cv-ur/test.jsonl.gz --fail-on speaker,file,audio --out leaks.tsv",
    "asr leaks data/cv-ur --no-audio --json",
)
_SORTS = "speaker, prompt, id, file, audio"


def leaks(
    manifests: Annotated[
        list[Path],
        typer.Argument(metavar="TRAIN TEST…", help="Manifests, or a folder of them: every pair is compared."),
    ],
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Listen too: copies under other names, whole or in part.")
    ] = True,
    index: IndexFolder = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Lowest score of a near-duplicate; default: as measured.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Table of everything that is shared, .tsv.")] = None,
    fail_on: Annotated[
        str, typer.Option(metavar="SORTS", help=f"Exit code 1 if any of these is shared: {_SORTS}; commas.")
    ] = "",
    drop: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the first manifest without the clips that leak.")
    ] = None,
    drop_on: Annotated[str, typer.Option(metavar="SORTS", help="What --drop goes by.")] = "file,audio",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """What do splits share? Speakers, prompts after normalisation, ids, files, and recordings that sound the same.

    Exit code 0 = compared, whatever was found; with --fail-on 1 = one of those sorts is shared; 3 = some recordings
    could not be listened to, the rest is compared.
    """
    from asr.corpora import leaks as finding
    from asr.similar_index import open_clip_index
    from asr.similar_sound import Fingerprint
    from asr.similarity import THRESHOLD
    from signwave import manifest
    from signwave.rundir import atomic_write

    fatal, dropped_on = _sorts("--fail-on", fail_on), _sorts("--drop-on", drop_on)
    splits = finding.read_splits(manifests)
    opened: Any = open_clip_index(index, Fingerprint()) if audio else nullcontext()
    with opened as clip_index:
        report = finding.find_leaks(
            splits, index=clip_index, threshold=THRESHOLD if threshold is None else threshold, quiet=quiet
        )
    if out is not None:
        atomic_write(out, report.table())
    if drop is not None:
        name, clips = next(iter(splits.items()))
        leaking = report.ids_of(name, dropped_on)
        manifest.write(drop, (c.seen_from(drop.resolve().parent) for c in clips if c.id not in leaking))
        command.say(f"{drop}: written, {len(leaking)} of {len(clips)} clips of {name} left out")
    for failure in report.failures:
        command.say(f"failed: {failure.message}")
    typer.echo(to_json(report.to_dict()) if as_json else report.summary())
    if report.found(fatal):
        sorts = ", ".join(dict.fromkeys(leak.kind for leak in report.found(fatal)))
        return command.fail(f"shared between splits: {sorts}; --out names them, --drop leaves them out")
    return command.EXIT_SOME_FAILED if report.failures else command.EXIT_DONE


def _sorts(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in _SORTS.split(", "):
            raise UserError(f"{option} {text}: '{name}' is unknown; allowed are {_SORTS}")
    return names
