"""`slr index …`: thin, no logic; everything heavy is imported when a command runs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signwave import command
from signwave.options import AsJson, Device, ModelFolder, Quiet, examples, to_json
from slr.commands import index_move
from slr.commands.search import Features, ModelOption, open_both

if TYPE_CHECKING:
    from signwave.manifest import Clip
    from slr.retrieval.search.indexing import Indexed

index_app = typer.Typer(
    name="index",
    help="Build and keep an index of sign clips that `slr search` looks into.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Clips, .jsonl or .jsonl.gz.")]
IndexPlace = Annotated[str, typer.Argument(metavar="INDEX", help="Folder of the index, or milvus:FILE.db, milvus:URL.")]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="KEY=VALUE", help="Note this of every clip, to filter by: corpus=how2sign."),
]

BUILD_EXAMPLES = examples(
    "slr index build clips/manifest.jsonl index --model runs/fingerspelling_retrieval",
    "slr index build data/h2s/test.jsonl.gz index --model runs/how2sign_retrieval --features rgb=features/h2s "
    "--tag corpus=how2sign",
)
DELETE_EXAMPLES = examples("slr index delete index clip-1 clip-2", "slr index delete index -- -fZc293MpJk_0")


@index_app.command(epilog=BUILD_EXAMPLES)
def build(
    manifest: Manifest,
    index: IndexPlace,
    model: ModelFolder,
    kind: Annotated[
        str, typer.Option(help="auto, flat, ivf_sq8, ivf_fastscan or hnsw; auto measures and says why.")
    ] = "auto",
    stage_one: Annotated[
        str, typer.Option("--stage-one", help="auto, pooled, mean or landmarks: the one vector of each clip.")
    ] = "auto",
    token_dtype: Annotated[
        str, typer.Option("--token-dtype", help="float16, or int8 for half the size on disk.")
    ] = "float16",
    features: Features = None,
    tag: Tags = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Index the clips of a manifest; an index that is there is replaced when the new one is complete."""
    from slr.retrieval.search import indexing
    from slr.retrieval.search.filters import parse_tags
    from slr.retrieval.search.retriever import Retriever

    options = indexing.IndexOptions(kind, stage_one, token_dtype, parse_tags(tag or []))
    retriever = Retriever.load(model, device=device, features=features or [])
    done = indexing.build(retriever, index, _clips(manifest, quiet), options)
    return _tell_indexed(done, index, as_json=as_json)


def _changing(*, replace: bool, doc: str) -> Callable[..., int]:
    """The command `add` or `upsert`: they differ in what becomes of an id that is there already."""

    def change(
        manifest: Manifest,
        index: IndexPlace,
        model: ModelOption = None,
        features: Features = None,
        tag: Tags = None,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> int:
        from slr.retrieval.search import indexing
        from slr.retrieval.search.filters import parse_tags

        retriever, opened = open_both(index, model, device, features)
        tags = parse_tags(tag or [])
        done = indexing.change(retriever, opened, _clips(manifest, quiet), replace=replace, tags=tags)
        return _tell_indexed(done, index, as_json=as_json)

    change.__doc__ = doc
    return change


index_app.command("add", epilog=examples("slr index add more/manifest.jsonl index"))(
    _changing(replace=False, doc="Add the clips of a manifest; an id that is there already is an error.")
)
index_app.command("upsert", epilog=examples("slr index upsert corrected/manifest.jsonl index"))(
    _changing(replace=True, doc="Add the clips of a manifest; an id that is there already is replaced.")
)


@index_app.command(epilog=DELETE_EXAMPLES)
def delete(
    index: IndexPlace,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Clips to take out; after -- if one begins with -.")],
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Pass over ids that aren't there.")] = False,
) -> int:
    """Take clips out of an index by id."""
    from signwave.index.moving import open_index

    num_deleted = open_index(index, check_tokens=False).delete(ids, missing_ok=missing_ok)
    typer.echo(f"{index}: {num_deleted} deleted")
    return command.EXIT_DONE


@index_app.command(epilog=examples("slr index compact index"))
def compact(index: IndexPlace) -> int:
    """Write an index anew without what was deleted or replaced; searches go on meanwhile."""
    from signwave.index.moving import open_index

    opened = open_index(index, check_tokens=False)
    before = opened.info()["bytes"]
    opened.compact()
    typer.echo(f"{index}: {before:,} → {opened.info()['bytes']:,} bytes")
    return command.EXIT_DONE


@index_app.command(epilog=examples("slr index info index", "slr index info index --json"))
def info(index: IndexPlace, as_json: AsJson = False) -> int:
    """Say what an index holds, which model made it, how it searches and why."""
    from signwave.index.moving import open_index

    _tell_facts(open_index(index, check_tokens=False).info(), as_json=as_json)
    return command.EXIT_DONE


@index_app.command(epilog=examples("slr index verify index"))
def verify(index: IndexPlace, as_json: AsJson = False) -> int:
    """Read the whole index again and compare it with its checksums."""
    from signwave.index.moving import open_index

    facts = open_index(index).verify()
    if as_json:
        _tell_facts(facts, as_json=True)
    else:
        typer.echo(f"{index}: sound, {facts['bytes']:,} bytes")
    return command.EXIT_DONE


index_app.command("move", epilog=index_move.EXAMPLES)(index_move.move)


def _clips(manifest: Path, quiet: bool) -> "Iterator[Clip]":
    from signwave.manifest import read

    return command.progress(read(manifest), "indexing", quiet=quiet)


def _tell_indexed(done: "Indexed", index: str, *, as_json: bool) -> int:
    for failure in done.failures:
        command.say(f"failed: {failure.message}")
    if as_json:
        failures = [{"file": f.file, "kind": f.kind, "message": f.message} for f in done.failures]
        typer.echo(to_json({"index": index, "num_done": done.num_done, "failures": failures}))
    else:
        why = f" ({done.reason})" if done.reason else ""
        typer.echo(f"{index}: {done.num_done} clips indexed, {len(done.failures)} failed{why}")
    return command.EXIT_SOME_FAILED if done.failures else command.EXIT_DONE


def _tell_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(facts))
    else:
        lines = {**{key: value for key, value in facts.items() if key != "info"}, **facts.get("info", {})}
        typer.echo("\n".join(f"{key}: {value}" for key, value in lines.items()))
