"""`asr manifest`: manifests for other toolkits; thin, no logic."""

from pathlib import Path
from typing import Annotated

import typer

from signwave import command
from signwave.options import AsJson, examples, to_json

MANIFEST_EXAMPLES = examples(
    "asr manifest data/cv-ur/train.jsonl.gz manifests --to lhotse",
    "asr manifest data/cv-ur/train.jsonl.gz manifests --to nemo",
)


def manifest(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Clips, .jsonl or .jsonl.gz.")],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Where the other manifest goes.")],
    to: Annotated[
        str, typer.Option(help="lhotse (recordings and supervisions), lhotse-cuts, or nemo.")
    ] = "lhotse-cuts",
    as_json: AsJson = False,
) -> int:
    """Write a manifest for another toolkit. The other way round is `asr prepare lhotse` or `asr prepare folder`."""
    from asr.corpora import exports
    from signwave.manifest import read

    clips = list(read(source))
    name = source.name.removesuffix(".gz").removesuffix(".jsonl")
    files = [str(path) for path in exports.write_as(clips, out_dir, form=to, name=name)]
    facts = {"files": files, "num_clips": len(clips)}
    typer.echo(to_json(facts) if as_json else "\n".join(f"{path}: {len(clips)} clips" for path in files))
    return command.EXIT_DONE
