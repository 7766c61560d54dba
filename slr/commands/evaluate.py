"""`slr evaluate`: thin, no logic; everything heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signwave import command
from signwave.errors import UserError
from signwave.options import AsJson, Device, Quiet, examples, to_json
from slr.commands.search import Features

if TYPE_CHECKING:
    from signwave.manifest import Clip
    from slr.retrieval.evaluation.measured import RetrievalResult
    from slr.retrieval.evaluation.query_evaluation import EvaluationOptions
    from slr.retrieval.evaluation.score_matrix import ScoreMatrix

EXAMPLES = examples(
    "slr evaluate runs/how2sign_retrieval data/how2sign/test.jsonl.gz --bank data/how2sign/train.jsonl.gz",
    "slr evaluate --scores cico.npz --bank train.jsonl.gz --out cico.json --picture cico.png --errors cico.html",
    "slr evaluate --scores ours.npz --against cico.npz     # is one better than the other?",
)


def evaluate(
    model: Annotated[Path | None, typer.Argument(help="Run or bundle folder of a retrieval model.")] = None,
    manifests: Annotated[list[Path] | None, typer.Argument(metavar="MANIFEST…", help="Clips with captions.")] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="Instead of a model: scores of any system, .npz.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Scores of another system on the same queries: paired tests.")
    ] = None,
    bank: Annotated[
        Path | None,
        typer.Option(help="Manifest of the training set: captions in common, and rows of QB-Norm and CSLS."),
    ] = None,
    features: Features = None,
    group_by: Annotated[
        str, typer.Option("--group-by", help="group, or clip where the manifest's groups aren't sentences.")
    ] = "group",
    credit_duplicates: Annotated[
        bool, typer.Option("--credit-duplicates", help="Groups with the same caption count as one.")
    ] = False,
    transductive: Annotated[
        bool, typer.Option("--transductive", help="Also rows normalised by the test queries themselves.")
    ] = False,
    inverse_temperature: Annotated[
        float, typer.Option(min=0.0, help="β of QB-Norm; 20 suits cosines, else choose it on validation.")
    ] = 20.0,
    mexa_size: Annotated[int, typer.Option(min=2, help="Pairs in a draw of MEXA; compare equal sizes only.")] = 100,
    seed: Annotated[int, typer.Option(help="Of intervals and draws.")] = 0,
    save_scores: Annotated[Path | None, typer.Option("--save-scores", help="Write the scores as .npz.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write every figure as .json.")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw recall@K and ranks as .png.")] = None,
    errors: Annotated[Path | None, typer.Option("--errors", help="List the misses as .tsv or .html.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Measure text → sign video and back: groups, both directions, ties, ceilings, intervals, languages apart.

    The file of --scores holds at least scores (texts × clips), text_group and clip_group; text, text_language,
    text_variant, clip_id, clip_person, bank_texts and bank_clips where they are known.
    """
    from signwave.rundir import write_json
    from slr.retrieval.evaluation.comparison import compare
    from slr.retrieval.evaluation.evaluate import evaluate as measure
    from slr.retrieval.evaluation.misses import SUFFIXES
    from slr.retrieval.evaluation.overlap import caption_overlap
    from slr.retrieval.evaluation.query_evaluation import EvaluationOptions
    from slr.retrieval.evaluation.score_matrix import ScoreMatrix, gallery_of, texts_of

    if errors is not None and errors.suffix not in SUFFIXES:
        raise UserError(f"--errors {errors}: must end in {' or '.join(SUFFIXES)}")
    training = _clips([bank] if bank else [])
    if scores is not None:
        if model is not None:
            raise UserError(f"--scores {scores}: stands for a model and its manifests; leave '{model}' out")
        matrix = ScoreMatrix.load(scores)
    else:
        settings = {"features": features or [], "group_by": _group_by(group_by), "device": device, "quiet": quiet}
        matrix = _scored(model, manifests or [], training, **settings)
    options = EvaluationOptions(
        credit_duplicates=credit_duplicates, transductive=transductive, inverse_temperature=inverse_temperature,
        mexa_size=mexa_size, seed=seed,
    )  # fmt: skip
    result = measure(matrix, options, training_texts=texts_of(training) if training else None)
    document, texts = result.to_dict(), [result.to_text()]
    if training:
        overlap = caption_overlap(texts_of(training), gallery_of(training), matrix.texts, matrix.clips)
        document["overlap"] = overlap.to_dict()
        texts += overlap.source_lines()  # the table says how many captions are in both
    if against is not None:
        other = measure(ScoreMatrix.load(against), options)
        found = compare(result, other, first_name=_name(scores, model), second_name=against.stem, seed=seed)
        document["comparison"] = found.to_dict()
        texts.append(found.to_text())
    if save_scores is not None:
        matrix.save(save_scores)
    if out is not None:
        write_json(out, document)
    _write_rest(matrix, options, result, picture=picture, errors=errors)
    for path in (save_scores, out, picture, errors):
        if path is not None and not quiet:
            command.say(f"{path}: written")
    typer.echo(to_json(document) if as_json else "\n".join(texts))
    return command.EXIT_DONE


def _group_by(value: str) -> str:
    if value not in ("group", "clip"):
        raise UserError(f"--group-by {value}: allowed are group and clip")
    return value


def _name(scores: Path | None, model: Path | None) -> str:
    return scores.stem if scores is not None else model.name if model is not None else ""


def _clips(manifests: list[Path]) -> list[Clip]:
    from signwave import manifest

    return [clip for path in manifests for clip in manifest.read(path)]


def _scored(model: Path | None, manifests: list[Path], training: list[Clip], **settings: Any) -> ScoreMatrix:
    from slr.retrieval.evaluation.scoring import score_manifest

    if model is None or not manifests:
        raise UserError("give a model and at least one manifest, or --scores FILE.npz")
    return score_manifest(model, _clips(manifests), bank=training, **settings)


def _write_rest(
    matrix: ScoreMatrix, options: EvaluationOptions, result: RetrievalResult, *, picture: Path | None,
    errors: Path | None,
) -> None:  # fmt: skip
    if picture is not None:
        from signwave.plots.figure import save_png
        from slr.retrieval.evaluation.picture import plot_result

        save_png(plot_result(result), picture)
    if errors is not None:
        from slr.retrieval.evaluation.misses import misses, write_misses

        write_misses(errors, misses(matrix, options))
