"""`slr captions add` and `slr captions variants`: thin, no logic; everything heavy is imported when a command runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signwave import command
from signwave.options import AsJson, Quiet, examples, to_json

if TYPE_CHECKING:
    from signwave.prepare import Problem

captions_app = typer.Typer(
    name="captions",
    help="Captions of clips, for `slr search`: put them into manifests, and vary them as people search.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_NUM_PROBLEMS_SHOWN = 20
_Manifest = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="A manifest, or a folder with those of all splits.")
]
_Out = Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to write; it may be the same.")]


@captions_app.command(
    epilog=examples(
        "slr captions add data/mine data/mine --table captions.tsv",
        "slr captions add data/mine/train.jsonl.gz train.jsonl.gz --table long.csv --languages en,de --json",
    )
)
def add(
    source: _Manifest,
    out: _Out,
    table: Annotated[
        Path,
        typer.Option(
            help="Columns id or group (beside id: set it), and one a language, or language and text; .tsv, .csv, .psv."
        ),
    ],
    languages: Annotated[str, typer.Option(help="Take these only, with commas; a column that's missing fails.")] = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Put the captions of a table into clips. Rows that can't be used are named with file and line: exit code 3."""
    from slr.captions import adding
    from slr.captions.manifests import read_manifests, write_manifests

    read = adding.read_captions(table, _split(languages))
    manifests = read_manifests(source)
    added = adding.add_captions((clip for clips in manifests.values() for clip in clips), read)
    written = write_manifests(added.clips, manifests, source, out)
    figures = {
        "num_clips": len(added.clips),
        "num_captions": added.num_captions,
        "num_without": added.num_without,
        "num_groups": added.num_groups,
    }
    told = f"{added.num_captions} captions in {len(added.clips)} clips, {added.num_without} clips without any"
    told += f", {added.num_groups} clips in another group" if added.num_groups else ""
    return _finish(figures, told, written, added.problems, num_done=added.num_captions, as_json=as_json, quiet=quiet)


@captions_app.command(
    epilog=examples(
        "slr captions variants data/mine data/mine --kinds keywords,question,de --languages en",
        "slr captions variants dev.jsonl.gz dev.jsonl.gz --kinds keywords --languages en --learn-from train.jsonl.gz",
    )
)
def variants(
    source: _Manifest,
    out: _Out,
    kinds: Annotated[str, typer.Option(help="keywords, question, and languages to take words from, with commas.")],
    languages: Annotated[str, typer.Option(help="Of the captions to vary, with commas.")],
    learn_from: Annotated[
        Path | None,
        typer.Option(help="Captions to learn stop words and lexicons from; default: the clips of split train, or all."),
    ] = None,
    stop_words: Annotated[
        list[Path] | None, typer.Option(help="LANGUAGE.txt with a word a line, instead of learning; may be repeated.")
    ] = None,
    max_share: Annotated[
        float, typer.Option(min=0, max=1, help="Words in more than this share of the captions are stop words.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Other questions and other words.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Add captions as people search (en+keywords, en+question) and with words of another language (en+de)."""
    from slr.captions.keywords import read_stop_words
    from slr.captions.manifests import read_manifests, write_manifests
    from slr.captions.variants import add_variants, make_variers

    manifests = read_manifests(source)
    clips = [clip for some in manifests.values() for clip in some]
    taught = [clip for some in read_manifests(learn_from).values() for clip in some] if learn_from else clips
    taught = [clip for clip in taught if clip.split == "train"] or taught
    given = {path.stem: read_stop_words(path) for path in stop_words or []}
    variers = make_variers(taught, _split(kinds), _split(languages), stop_words=given, max_share=max_share)
    varied = add_variants(clips, variers, seed=seed)
    written = write_manifests(varied.clips, manifests, source, out)
    figures = {"num_clips": len(clips), "num_made": varied.num_made, "num_left_out": varied.num_left_out}
    made = (f"{key} {num} (none for {varied.num_left_out[key]})" for key, num in varied.num_made.items())
    told = f"{len(clips)} clips: {', '.join(made)}"
    num_done = sum(varied.num_made.values())
    return _finish(figures, told, written, varied.problems, num_done=num_done, as_json=as_json, quiet=quiet)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _finish(
    figures: dict[str, Any],
    told: str,
    written: Sequence[Path],
    problems: Sequence[Problem],
    *,
    num_done: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say what was done and return the exit code: 3 where some rows failed, 1 where all did."""
    from collections import Counter

    counts = dict(Counter(problem.kind for problem in problems).most_common())
    if as_json:
        rows = [problem._asdict() for problem in problems]
        typer.echo(to_json({"files": list(map(str, written)), **figures, "problem_counts": counts, "problems": rows}))
    elif not quiet:
        command.say(f"{', '.join(map(str, written))}: {told}")
    if problems:
        listed = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        command.say(f"left out {len(problems)}: {listed}")
        for problem in problems[:_NUM_PROBLEMS_SHOWN]:
            command.say(f"  {problem}")
        if len(problems) > _NUM_PROBLEMS_SHOWN:
            command.say(f"  and {len(problems) - _NUM_PROBLEMS_SHOWN} more; --json lists all")
    if not problems:
        return command.EXIT_DONE
    return command.EXIT_SOME_FAILED if num_done else command.EXIT_FAILED
