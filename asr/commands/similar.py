"""`asr duplicates` and `asr nearest`: thin, no logic; everything heavy is imported when a command runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signwave import command
from signwave.errors import UserError
from signwave.options import AsJson, Device, Quiet, examples, to_json

if TYPE_CHECKING:
    from asr.similar_index import Embedded

DUPLICATES_EXAMPLES = examples(
    "asr duplicates data/radio/manifest.jsonl.gz --out pairs.tsv",
    "asr duplicates data/radio/manifest.jsonl.gz --against data/cv-ur/test.jsonl.gz --index runs/sound --out leaks.tsv",
)
NEAREST_EXAMPLES = examples(
    "asr nearest data/pool.jsonl.gz data/cv-ur/dev.jsonl.gz --hours 20 --out chosen.jsonl.gz --scores scores.tsv",
    "asr nearest data/pool.jsonl.gz data/cv-ur/dev.jsonl.gz -k 500 --encoder donors/xls-r --out chosen.jsonl.gz",
)

IndexFolder = Annotated[
    Path | None,
    typer.Option("--index", help="Keep what was embedded in this folder; the next run embeds only what is new."),
]


def duplicates(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Recordings, .jsonl or .jsonl.gz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Table of pairs, .tsv.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against", help="Look for MANIFEST's clips here (test sets); may be repeated. Without it: itself."
        ),
    ] = None,
    index: IndexFolder = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Lowest score of a pair; default: as measured, see docs.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Find recordings that are copies of each other, whole or in part: other level, codec, rate, cut or some noise.

    Exit code 3 if some recordings could not be read; they are named, the rest is done.
    """
    from asr import similarity
    from asr.similar_index import open_clip_index
    from asr.similar_sound import Fingerprint
    from signwave.manifest import read

    with open_clip_index(index, Fingerprint()) as opened:
        found = similarity.find_near_duplicates(
            opened,
            list(read(manifest)),
            against=[clip for path in against for clip in read(path)] if against else None,
            threshold=similarity.THRESHOLD if threshold is None else threshold,
            quiet=quiet,
        )
    similarity.write_pairs(out, found.pairs)
    sides = [found.embedded, *([found.against] if found.against else [])]
    return _tell(
        {"out": str(out), "num_pairs": len(found.pairs)},
        f"{out}: {len(found.pairs)} pairs",
        sides,
        as_json=as_json,
        quiet=quiet,
    )


def nearest(
    pool: Annotated[Path, typer.Argument(metavar="POOL", help="Unlabelled recordings, .jsonl or .jsonl.gz.")],
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="Recordings of the target domain.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Manifest of the chosen clips, closest first.")],
    hours: Annotated[float | None, typer.Option(min=0.0, help="Take at most so many hours.")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Take so many clips.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Table with the scores of the entire pool; default: beside --out, .scores.tsv.")
    ] = None,
    num_nearest: Annotated[int, typer.Option(min=1, help="Clips of the reference that a score is the mean over.")] = 10,
    encoder: Annotated[
        Path | None, typer.Option(help="Speech encoder (transformers folder or our run) instead of plain statistics.")
    ] = None,
    index: IndexFolder = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Choose the recordings of a pool that are closest to a target domain; every score is kept.

    Exit code 3 if some recordings could not be read; they are named, the rest is done.
    """
    from asr import similar_domain, similar_nearest
    from asr.similar_index import ClipEmbedder, open_clip_index
    from signwave import manifest
    from signwave.rundir import atomic_write

    if (hours is None) == (k is None):
        raise UserError("give either --hours H or -k NUMBER")
    embedder: ClipEmbedder = similar_domain.SpectrumStatistics()
    if encoder is not None:
        embedder = similar_domain.EncoderMean.load(encoder, device=command.pick_device(device))
    with open_clip_index(index, embedder, metric="inner_product") as opened:
        found = similar_nearest.nearest_to(
            opened,
            list(manifest.read(pool)),
            list(manifest.read(reference)),
            num_hours=hours,
            k=k,
            num_nearest=num_nearest,
            quiet=quiet,
        )
    manifest.write(out, (clip.seen_from(out.resolve().parent) for clip in found.clips))
    table_path = scores or out.with_name(out.name.removesuffix(".gz").removesuffix(".jsonl") + ".scores.tsv")
    atomic_write(table_path, similar_nearest.choices_table(found.choices))
    seconds = sum(choice.seconds for choice in found.choices if choice.is_chosen)
    return _tell(
        {"out": str(out), "scores": str(table_path), "num_chosen": len(found.clips), "hours": seconds / 3600},
        f"{out}: {len(found.clips)} of {len(found.choices)} clips, {seconds / 3600:.3f} h; scores in {table_path}",
        [found.pool, found.reference],
        as_json=as_json,
        quiet=quiet,
    )


def _tell(facts: dict[str, object], summary: str, sides: "Sequence[Embedded]", *, as_json: bool, quiet: bool) -> int:
    """Say what was done and what could not be read; the exit code."""
    failures = [failure for side in sides for failure in side.failures]
    silent = [id_ for side in sides for id_ in side.silent]
    num_clips = sum(len(side.clips) for side in sides)
    for failure in failures:
        command.say(f"failed: {failure.message}")
    if silent and not quiet:
        command.say(f"{len(silent)} clips in which nothing can be heard, such as {silent[0]}")
    if as_json:
        named = [{"file": f.file, "kind": f.kind, "message": f.message} for f in failures]
        typer.echo(to_json({**facts, "num_clips": num_clips, "silent": silent, "failures": named}))
    else:
        typer.echo(f"{summary}; {num_clips} clips, {len(failures)} failed, {len(silent)} silent")
    if not failures:
        return command.EXIT_DONE
    return command.EXIT_FAILED if len(failures) == num_clips else command.EXIT_SOME_FAILED
