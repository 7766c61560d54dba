"""`slr search`: thin, no logic; everything heavy is imported when the command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signwave import command
from signwave.errors import UserError
from signwave.options import AsJson, Device, Quiet, examples, to_json

if TYPE_CHECKING:
    from slr.retrieval.search.results import Answer
    from slr.retrieval.search.retriever import Retriever

ModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="Run folder of the model; by default the one the index was built with."),
]
Features = Annotated[
    list[str] | None,
    typer.Option(
        "--features", metavar="STREAM=FOLDER", help="Cached features of `slr features`, instead of the clips' files."
    ),
]

EXAMPLES = examples(
    "slr search runs/demo/index --text house -k 5 --html hits.html",
    'slr search index --text "rain in the north" --where person=Signer04 --where date=2010-01..2011-01',
    "slr search index --video clip.mp4 --captions",
)


def search(
    index: Annotated[str, typer.Argument(metavar="INDEX", help="Folder of the index, or milvus:FILE.db, milvus:URL.")],
    text: Annotated[str | None, typer.Option("--text", "-t", help="What to look for, in words.")] = None,
    video: Annotated[str | None, typer.Option("--video", help="What to look for, as a video or pose file.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits wanted.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="KEY=VALUE", help="Only such clips: person=ann, language=en,de, seconds=2..5."),
    ] = None,
    captions: Annotated[
        bool, typer.Option("--captions", help="With --video: which of the index's captions say what is signed there?")
    ] = False,
    candidates: Annotated[
        int | None, typer.Option(min=1, help="Clips that are scored finely; by default what the index measured.")
    ] = None,
    model: ModelOption = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page that plays the hits.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Find sign clips by text or by example, and say what matched, and when."""
    if (text is None) == (video is None):
        raise UserError("give either --text WORDS or --video FILE")
    if captions and (video is None or html is not None):
        raise UserError("--captions ranks captions for a --video, and makes no page; give --video FILE and no --html")
    from slr.retrieval.search import page as search_page
    from slr.retrieval.search.filters import parse_where, why_empty
    from slr.retrieval.search.media_query import clip_of

    retriever, opened = open_both(index, model, device, None)
    options: dict[str, Any] = {"k": k, "candidates": candidates, "where": parse_where(where or []) or None}
    if captions:
        from slr.retrieval.search.captions_for import rank_captions

        found = rank_captions(retriever, opened, clip_of(video or ""), k=k, where=options["where"])
        typer.echo(to_json(found.to_dict()) if as_json else found.to_text())
        return command.EXIT_DONE
    if text is not None:
        answer = retriever.search(opened, text, **options)
    else:
        answer = retriever.search_clip(opened, clip_of(video or ""), **options)
    for warning in answer.warnings:
        if not quiet:
            command.say(f"warning: {warning}")
    if html is not None:
        search_page.write(html, answer)
        if not quiet:
            command.say(f"{html}: written")
    typer.echo(to_json(answer.to_dict()) if as_json else _table(answer) or why_empty(opened, options["where"]))
    return command.EXIT_DONE


def open_both(index: str, model: Path | None, device: str, features: list[str] | None) -> "tuple[Retriever, Any]":
    """The model and the index, the model from where the index remembers it unless it is named."""
    from signwave.index.moving import open_index
    from slr.retrieval.search.retriever import Retriever

    if model is not None:
        retriever = Retriever.load(model, device=device, features=features or [])
        return retriever, retriever.open(index)
    opened = open_index(index, check_tokens=False)
    return Retriever.of_index(opened, device=device, features=features or []), opened


def _table(answer: "Answer") -> str:
    lines = [
        f"{place:3d}  {hit.score:.3f}  {hit.start_seconds:6.2f}-{hit.end_seconds:6.2f} s  {hit.id}  {hit.path}"
        for place, hit in enumerate(answer.hits, start=1)
    ]
    return "\n".join(lines)
