"""`slr index move`: an index folder to Milvus and back."""

from typing import Annotated

import typer

from signwave import command
from signwave.options import AsJson, Quiet, examples, to_json

EXAMPLES = examples(
    "slr index move runs/index milvus:clips.db",
    "MILVUS_TOKEN=root:Milvus slr index move runs/index milvus:http://db.example.org:19530#clips",
    "slr index move milvus:clips.db runs/index-again",
)

_PLACE = "a folder, milvus:FILE.db[#NAME] or milvus:http(s)://HOST:PORT[#NAME]"


def move(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=f"The index: {_PLACE}. It stays as it is.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help=f"Where it goes: {_PLACE}.")],
    kind: Annotated[
        str, typer.Option(help="Type of the target: auto, flat, hnsw, ivf_sq8 (folders: also ivf_fastscan).")
    ] = "auto",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite an index that is at TARGET.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Copy an index to another place: ids, vectors, tokens, payloads and what is known about its model.

    The token of a Milvus server is read from the environment variable MILVUS_TOKEN. The target comes into use when it
    is complete; delete the source yourself once you are content.
    """
    from signwave.index.moving import closing, copy_index, open_index

    with (
        closing(open_index(source)) as opened,
        closing(copy_index(opened, target, kind=kind, replace=replace, quiet=quiet)) as copied,
    ):
        if as_json:
            typer.echo(to_json({"source": source, "target": target, **copied.info()}))
        else:
            typer.echo(f"{target}: {len(copied)} rows copied from {source}")
    return command.EXIT_DONE
