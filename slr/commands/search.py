"""`slr index …` and `slr search`: thin, no logic; everything heavy is imported when a command runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signwave import command
from signwave.errors import UserError
from signwave.options import AsJson, Device, ModelFolder, Quiet, to_json

if TYPE_CHECKING:
    from signwave.manifest import Clip
    from slr.retrieval.results import Answer
    from slr.retrieval.search import Indexed, Retriever

index_app = typer.Typer(
    name="index",
    help="Build and keep an index of sign clips that `slr search` looks into.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Pose clips, .jsonl or .jsonl.gz.")]
IndexFolder = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="Run folder of the model; by default the one the index was built with."),
]


@index_app.command(epilog="Example: slr index build clips/manifest.jsonl index --model runs/fingerspelling_retrieval")
def build(
    manifest: Manifest,
    index: IndexFolder,
    model: ModelFolder,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Index the clips of a manifest; an index that is there is replaced when the new one is complete."""
    from slr.retrieval.search import Retriever

    retriever = Retriever.load(model, device=device)
    return _tell_indexed(retriever.build(index, _clips(manifest, quiet)), index, as_json=as_json)


@index_app.command()
def add(
    manifest: Manifest,
    index: IndexFolder,
    model: ModelOption = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Add the clips of a manifest; an id that is there already is replaced."""
    retriever, _ = _open(index, model, device)
    return _tell_indexed(retriever.add(index, _clips(manifest, quiet)), index, as_json=as_json)


@index_app.command(epilog="Ids that begin with a dash come after --: slr index delete INDEX -- -fZc293MpJk_0")
def delete(
    index: IndexFolder,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Clips to take out.")],
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Pass over ids that aren't there.")] = False,
) -> int:
    """Take clips out of an index by id."""
    from signwave.index import Index

    num_deleted = Index.open(index, check_tokens=False).delete(ids, missing_ok=missing_ok)
    typer.echo(f"{index}: {num_deleted} deleted")
    return command.EXIT_DONE


@index_app.command()
def info(index: IndexFolder, as_json: AsJson = False) -> int:
    """Say what an index holds and which model made it."""
    from signwave.index import Index

    _tell_facts(Index.open(index, check_tokens=False).info(), as_json=as_json)
    return command.EXIT_DONE


@index_app.command()
def verify(index: IndexFolder, as_json: AsJson = False) -> int:
    """Read the whole index again and compare it with its checksums."""
    from signwave.index import Index

    facts = Index.open(index).verify()
    if as_json:
        _tell_facts(facts, as_json=True)
    else:
        typer.echo(f"{index}: sound, {facts['bytes']:,} bytes")
    return command.EXIT_DONE


def search(
    index: IndexFolder,
    text: Annotated[str | None, typer.Option("--text", "-t", help="What to look for, in words.")] = None,
    video: Annotated[str | None, typer.Option("--video", help="What to look for, as a pose file.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits wanted.")] = 10,
    model: ModelOption = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page that plays the hits.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Find sign clips by text or by example, and say which signs matched, and when.

    Example: slr search runs/demo/index --text house -k 5 --html hits.html
    """
    if (text is None) == (video is None):
        raise UserError("give either --text WORDS or --video FILE.pose")
    from slr.retrieval import page as search_page

    retriever, opened = _open(index, model, device)
    by_text = text is not None
    answer = retriever.search(opened, text or "", k=k) if by_text else retriever.search_clip(opened, video or "", k=k)
    for warning in answer.warnings:
        if not quiet:
            command.say(f"warning: {warning}")
    if html is not None:
        search_page.write(html, answer)
        if not quiet:
            command.say(f"{html}: written")
    typer.echo(to_json(answer.to_dict()) if as_json else _table(answer))
    return command.EXIT_DONE


def _open(index: Path, model: Path | None, device: str) -> "tuple[Retriever, Any]":
    from signwave.index import Index
    from slr.retrieval.search import Retriever

    if model is not None:
        retriever = Retriever.load(model, device=device)
        return retriever, retriever.open(index)
    opened = Index.open(index)
    return Retriever.of_index(opened, device=device), opened


def _clips(manifest: Path, quiet: bool) -> "Iterator[Clip]":
    from signwave.manifest import read

    return command.progress(read(manifest), "indexing", quiet=quiet)


def _tell_indexed(done: "Indexed", index: Path, *, as_json: bool) -> int:
    for failure in done.failures:
        command.say(f"failed: {failure.message}")
    if as_json:
        failures = [{"file": f.file, "kind": f.kind, "message": f.message} for f in done.failures]
        typer.echo(to_json({"index": str(index), "num_done": done.num_done, "failures": failures}))
    else:
        typer.echo(f"{index}: {done.num_done} clips indexed, {len(done.failures)} failed")
    return command.EXIT_SOME_FAILED if done.failures else command.EXIT_DONE


def _tell_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(facts))
    else:
        lines = {**{key: value for key, value in facts.items() if key != "info"}, **facts.get("info", {})}
        typer.echo("\n".join(f"{key}: {value}" for key, value in lines.items()))


def _table(answer: "Answer") -> str:
    lines = [
        f"{place:3d}  {hit.score:.3f}  {hit.start_seconds:6.2f}-{hit.end_seconds:6.2f} s  {hit.id}  {hit.path}"
        for place, hit in enumerate(answer.hits, start=1)
    ]
    return "\n".join(lines) or "no clip in the index"
