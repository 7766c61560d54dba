"""The work behind `slr recognize`: find the inputs, recognise one after the other, write results, name what failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signwave.command import Failure
from signwave.errors import UserError
from signwave.rundir import atomic_write
from slr import formats
from slr.transcript import Transcript

if TYPE_CHECKING:
    from slr.infer import Recognizer

SUFFIXES = (".pose",)


def find_inputs(names: Sequence[str], *, limit: int | None = None) -> list[Path]:
    """Files as named, and the pose files below folders, in order; a file that doesn't exist fails later, by itself.

    Raises:
        UserError: a folder holds no pose file.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise UserError(f"{name}: holds no {' or '.join(SUFFIXES)} file; name the folder of the poses")
        found += inside
    return list(dict.fromkeys(found))[:limit]


def targets(inputs: Sequence[Path], out_dir: Path) -> dict[Path, Path]:
    """Where each input's results go, without a suffix.

    Raises:
        UserError: two inputs would write the same file.
    """
    taken: dict[str, Path] = {}
    for path in inputs:
        if path.stem in taken:
            raise UserError(
                f"{path} and {taken[path.stem]} would both write {out_dir / path.stem}; give them an --out each"
            )
        taken[path.stem] = path
    return {path: out_dir / path.stem for path in inputs}


def run(
    recognizer: Recognizer,
    inputs: Sequence[Path],
    *,
    format_names: Sequence[str],
    out_dir: Path | None = None,
    skip_existing: bool = False,
    fail_fast: bool = False,
) -> Iterator[Transcript]:
    """Recognise the inputs and write their results as each ends; an input that can't be read becomes a failed record.

    Args:
        recognizer: the model.
        inputs: files, see `find_inputs`.
        format_names: what to write into out_dir.
        out_dir: folder for the results, None to write nothing.
        skip_existing: pass over inputs whose every format is there already.
        fail_fast: raise the first failure instead of recording it.
    """
    places = targets(inputs, out_dir) if out_dir is not None else {}
    for path in inputs:
        outputs = [_output(places[path], name) for name in format_names] if places else []
        if skip_existing and outputs and all(output.exists() for output in outputs):
            yield Transcript(str(path), (), 0.0, was_skipped=True)
            continue
        try:
            transcript = recognizer(path)
        except UserError as error:
            if fail_fast:
                raise
            yield Transcript(str(path), (), 0.0, failure=Failure.of(str(path), error))
            continue
        for name, output in zip(format_names, outputs, strict=bool(outputs)):
            atomic_write(output, formats.write(transcript, name))
        yield transcript


def _output(place: Path, format_name: str) -> Path:
    return place.with_name(f"{place.name}.{format_name}")


def document(transcripts: Sequence[Transcript], recognizer: Recognizer) -> dict[str, Any]:
    """What --json prints: the model and a record for each input."""
    return {
        "model": {"name": recognizer.name, "sha256": recognizer.digest},
        "results": [transcript.to_dict() for transcript in transcripts],
    }


def summary(transcripts: Sequence[Transcript]) -> str:
    """One line for people."""
    counts = {status: sum(t.status == status for t in transcripts) for status in ("ok", "empty", "skipped", "failed")}
    shown = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    seconds = sum(t.duration_seconds for t in transcripts)
    return f"{len(transcripts)} clips, {seconds:.1f} s: {shown}"
