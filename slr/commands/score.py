"""`slr score`, `slr compare` and `slr audit`: thin, no logic; everything heavy is imported when a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signwave import command
from signwave.errors import UserError
from signwave.options import AsJson, Quiet, examples, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slr.scoring import Breakdown, Evaluation, Reference

Protocols = Annotated[
    list[str] | None,
    typer.Option(
        "--protocol", "-p", help="official-p14 official-p14t slrt corrnet plain, or all; several with commas."
    ),
]
ClusterOption = Annotated[
    str, typer.Option("--cluster", help="What intervals and tests draw: clip, broadcast, person or group.")
]
Split = Annotated[str, typer.Option(help="Which hypotheses of a run folder.")]

SCORE_EXAMPLES = examples(
    "slr score hypotheses.ctm phoenix2014-groundtruth-test.stm --protocol all",
    "slr score runs/p14 --split dev --protocol official-p14 --breakdown --html errors.html",
    "slr score predictions.csv dev.txt --train train.txt --json",
)
COMPARE_EXAMPLES = examples(
    "slr compare runs/baseline runs/larger --protocol official-p14",
    "slr compare one.ctm two.ctm --ref test.stm --cluster broadcast --json",
)
AUDIT_EXAMPLES = examples(
    "slr audit phoenix2014/test.jsonl.gz phoenix2014t/train.jsonl.gz",
    "slr audit train.jsonl.gz test.jsonl.gz --drop clean-train.jsonl.gz",
    "slr audit dev.corpus.csv train.corpus.csv --fail-above 0.01 --json",
)


def score(
    hypothesis: Annotated[
        Path,
        typer.Argument(metavar="HYP", help=".ctm, .csv or .txt of id and glosses, .json transcripts, or a run folder."),
    ],
    reference: Annotated[
        Path | None,
        typer.Argument(metavar="REF", help=".stm, corpus .csv or manifest; a run folder brings its own."),
    ] = None,
    protocol: Protocols = None,
    split: Split = "test",
    cluster: ClusterOption = "clip",
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Tables by signer, length and gloss.")] = False,
    train: Annotated[
        Path | None, typer.Option(help="Training references: adds tables of unseen and rare glosses.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page.")] = None,
    alignments: Annotated[
        Path | None, typer.Option("--alignments", help="Also write every alignment, as sclite's dtl and pra.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Word error rate of recognised glosses as a paper's protocol counts it, with 95 % intervals.

    A clip without a hypothesis counts as an empty one and is named. With several protocols the tables, the page's
    tables and the alignments are those of the first.
    """
    from slr import scoring
    from slr.scoring import alignments as alignment_text
    from slr.scoring import page
    from slr.scoring.protocols import choose

    clips = scoring.read_references(_reference_of(hypothesis, reference, split))
    hypotheses = scoring.read_hypotheses(hypothesis, split=split)
    evaluations = [
        scoring.score(hypotheses, clips, protocol=one.name, cluster=cluster)  # type: ignore[arg-type]
        for one in choose(protocol or ["plain"])
    ]
    wanted = breakdown or train is not None or html is not None or alignments is not None
    tables = _tables(evaluations[0], train) if wanted else None
    if tables is not None and html is not None:
        page.page(evaluations, tables).write(html)
    if tables is not None and alignments is not None:
        _write(alignments, alignment_text.to_text(evaluations[0], tables))
    for path in (html, alignments):
        if path is not None and not quiet:
            command.say(f"{path}: written")
    shown = tables if breakdown or train is not None else None
    typer.echo(to_json(_document(evaluations, shown)) if as_json else _text(evaluations, shown))
    return command.EXIT_DONE


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="Run folder or hypotheses.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="Run folder or hypotheses.")],
    reference: Annotated[
        Path | None, typer.Option("--ref", "-r", help="References; a run folder brings its own.")
    ] = None,
    protocol: Annotated[str, typer.Option("--protocol", "-p", help="How to count, see slr score.")] = "plain",
    split: Split = "test",
    cluster: ClusterOption = "clip",
    num_shown: Annotated[int, typer.Option("-k", min=0, help="Clips listed where they differ most.")] = 10,
    as_json: AsJson = False,
) -> int:
    """Is one system better than another? Paired bootstrap, permutation and sign test on the errors of each clip."""
    from slr import scoring

    clips = scoring.read_references(_reference_of(first, reference, split))
    evaluations = [
        scoring.score(
            scoring.read_hypotheses(path, split=split),
            clips,
            protocol=protocol,
            cluster=cluster,  # type: ignore[arg-type]
        )
        for path in (first, second)
    ]
    names = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    found = scoring.compare(
        *evaluations, first_name=names[0], second_name=names[1], cluster=cluster, num_shown=num_shown
    )
    typer.echo(to_json(found.to_dict()) if as_json else found.summary())
    return command.EXIT_DONE


def audit(
    a: Annotated[Path, typer.Argument(metavar="A", help="Manifest, corpus .csv or .stm.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Likewise.")],
    min_run: Annotated[int, typer.Option(min=1, help="Glosses in a row that count as the same performance.")] = 4,
    marks: Annotated[
        str, typer.Option(help="phoenix takes __ON__, loc-, -PLUSPLUS … off; keep; auto goes by the ids.")
    ] = "auto",
    fail_above: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="Exit code 1 if more of A is in B.")
    ] = None,
    drop: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write manifest A without the clips that are in B.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Does A leak into B? Verbatim texts, runs of glosses of one broadcast, signers and media files in common.

    Exit code 0 = compared, whatever was found; with --fail-above 1 = more than that share of A's glosses is in B.
    """
    from slr.corpora import audit as auditing

    found = auditing.audit(a, b, min_run=min_run, marks=marks)  # type: ignore[arg-type]
    if drop is not None:
        num_dropped = auditing.write_without(a, drop, found.a_in_b.offending)
        if not quiet:
            command.say(f"{drop}: written, {num_dropped} of {found.a_in_b.num_clips} clips left out")
    typer.echo(to_json(found.to_dict()) if as_json else found.summary())
    if fail_above is not None and found.a_in_b.share > fail_above:
        return command.fail(f"{found.a_in_b.share:.2%} of {a} is in {b}, more than the {fail_above:.2%} allowed")
    return command.EXIT_DONE


def _reference_of(hypothesis: Path, reference: Path | None, split: str) -> Path:
    if reference is not None:
        return reference
    if not hypothesis.exists():
        raise UserError(f"{hypothesis}: no such file or run folder")
    own = hypothesis / "hypotheses" / f"{split}.stm"
    if not own.is_file():
        raise UserError(f"{hypothesis}: brings no references ({own} is missing); name a .stm, corpus .csv or manifest")
    return own


def _tables(evaluation: "Evaluation", train: Path | None) -> "Breakdown":
    from slr import scoring

    texts = None if train is None else _as_compared(scoring.read_references(train), evaluation.protocol)
    return scoring.breakdown(evaluation.pairs, train_texts=texts)


def _as_compared(clips: "dict[str, Reference]", protocol: str) -> list[str]:
    """Training texts treated like the references by a protocol."""
    from slr.scoring.protocols import by_name

    prepared = by_name(protocol).prepare({clip_id: clip.tokens for clip_id, clip in clips.items()}, {})
    return [" ".join(tokens) for tokens in prepared.references.values()]


def _document(evaluations: "Sequence[Evaluation]", tables: "Breakdown | None") -> dict[str, Any]:
    documents = [evaluation.to_dict() for evaluation in evaluations]
    document = documents[0] if len(documents) == 1 else {"protocols": {one["protocol"]: one for one in documents}}
    return document if tables is None else {**document, "breakdown": tables.to_dict()}


def _text(evaluations: "Sequence[Evaluation]", tables: "Breakdown | None") -> str:
    from slr.scoring import page

    parts = ["\n".join(evaluation.summary() for evaluation in evaluations)]
    parts += [page.to_text(table) for table in page.tables_of(tables)] if tables is not None else []
    return "\n\n".join(parts)


def _write(path: Path, text: str) -> None:
    from signwave.rundir import atomic_write

    atomic_write(path, text)
