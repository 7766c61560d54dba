"""`asr donors`: thin, no logic; everything heavy is imported when it runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from signwave import command
from signwave.errors import UserError
from signwave.options import AsJson, Device, Quiet, examples, to_json

if TYPE_CHECKING:
    from asr.donors.planning import Plan

T = TypeVar("T")

EXAMPLES = examples(
    "asr donors --target fas",
    "asr donors --target fas --hours pbu=3042 --hours ckb=137 --hours arb=90 --json",
    "asr donors --target fa --speech fa=data/fa.jsonl.gz --speech ps=data/ps.jsonl.gz --encoder donors/xls-r",
)


def donors(
    target: Annotated[str, typer.Option(help="Code of the language to be recognised, of two or three letters.")],
    donor: Annotated[list[str] | None, typer.Option(help="Code of a possible donor; may be repeated.")] = None,
    speech: Annotated[
        list[str] | None,
        typer.Option(metavar="LANGUAGE=MANIFEST", help="Recordings, also of the target: hours, letters, sound."),
    ] = None,
    hours: Annotated[
        list[str] | None, typer.Option(metavar="LANGUAGE=HOURS", help="Hours at hand, where not from a manifest.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="LANGUAGE=FILE", help="Text, for the overlap of scripts.")
    ] = None,
    phones: Annotated[
        list[str] | None, typer.Option(metavar="LANGUAGE=FILE", help="Phones separated by spaces or lines.")
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="Speech encoder (transformers folder or our run) for the sound. Without one it is told, not counted."
        ),
    ] = None,
    max_hours: Annotated[float, typer.Option(min=0.001, help="Hours of each language to listen to.")] = 5.0,
    gain: Annotated[
        Path | None, typer.Option(help="Measured runs, .csv or .tsv: hours, error. Fits the curve of gain.")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.001, help="Of the similarity: low = only the closest.")] = 0.1,
    hours_power: Annotated[float, typer.Option(min=0.0, max=1.0, help="0 = languages alike, 1 = hours alike.")] = 0.5,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Table of the donors, .tsv.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Rank donor languages by typology, sound, phones and script, with sampling weights.

    Exit code 3 if some recordings could not be read; they are named, the rest is done.
    """
    from asr.donors import gain as curves
    from asr.donors.gathering import Given, gather
    from asr.donors.planning import Mixture

    given = Given(
        target=target,
        donors=tuple(donor or ()),
        manifests=_pairs("--speech", speech, Path),
        hours=_pairs("--hours", hours, _hours),
        texts=_pairs("--text", text, Path),
        phones=_pairs("--phones", phones, Path),
        encoder=encoder,
        device=command.pick_device(device) if encoder else "cpu",
        max_hours=max_hours,
    )
    curve = curves.fit(curves.read_points(gain)) if gain else None
    mixture = Mixture(
        atds=2.0 if encoder else 0.0,  # by log-mel it is told, but tells voices rather than languages
        temperature=temperature,
        hours_power=hours_power,
    )
    found, failures = gather(given, mixture=mixture, curve=curve, quiet=quiet)
    for failure in failures:
        command.say(f"failed: {failure.message}")
    _write(found, out, as_json=as_json)
    return command.EXIT_SOME_FAILED if failures else command.EXIT_DONE


def _write(found: "Plan", out: Path | None, *, as_json: bool) -> None:
    from asr.donors import report
    from signwave.rundir import atomic_write

    if out is not None:
        atomic_write(out, report.to_tsv(found))
    typer.echo(to_json(found.to_dict()) if as_json else report.to_text(found))


def _hours(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError(text)
    return value


def _pairs(option: str, given: Sequence[str] | None, convert: Callable[[str], T]) -> dict[str, T]:
    found: dict[str, T] = {}
    for pair in given or ():
        language, equals, value = pair.partition("=")
        try:
            if not (language and equals and value):
                raise ValueError(pair)
            found[language] = convert(value)
        except ValueError:
            raise UserError(f"{option} {pair}: expected LANGUAGE=VALUE, such as fas=…") from None
    return found
