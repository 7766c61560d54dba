"""`slr spot`: a recogniser of isolated signs and manifests of another corpus → a dictionary of pseudo-labels.

Source: the domain-aware sign encoder of CiCo (Cheng et al., CVPR 2023, §3.2). The dictionary is a table of segments
like those of `slr align`, so recipes of isolated signs train on it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from signwave import command
from signwave import manifest as manifests
from signwave.errors import ArtefactError, UserError
from signwave.manifest import Clip
from signwave.rundir import read_json, write_json
from slr.crosslingual.parts import Parts, difference
from slr.crosslingual.segments import Segment, SegmentsHeader, read_segments, write_segments
from slr.spotting.report import SpotReport, Tally
from slr.spotting.splits import UNNAMED, choose
from slr.spotting.spotter import SeesWindows, Spotted, Spotter
from slr.spotting.suppression import Suppression

log = logging.getLogger(__name__)

CLIPS_A_PART = 100
"""A killed run loses at most the work on so many clips."""


def spot_manifests(
    recognizer: SeesWindows,
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    language: str = "",
    splits: Sequence[str] = ("train",),
    rules: Suppression | None = None,
    with_blanks: bool = True,
    corpus: str = "",
    limit: int | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> SpotReport:
    """Spot signs in the clips of manifests; does nothing where it is done, goes on where it was interrupted.

    Beside the table OUT.parquet lies OUT.parquet.report.json with what the report holds, and for several manifests
    OUT.clips.jsonl.gz with the clips of the chosen splits.

    Args:
        recognizer: a model of isolated signs, trained on another corpus.
        paths: manifests of the corpus.
        out: the table, NAME.parquet.
        language: of the recogniser, whose classifier is asked; "" takes the only one.
        splits: whose clips are looked at, see slr.spotting.splits.
        rules: which windows become spans.
        with_blanks: keep spans in which nothing is signed.
        corpus: name of the corpus; "" takes the folder of the first manifest.
        limit: look at so many clips at most.
        overwrite: replace a table of other inputs.
        quiet: no progress on stderr.

    Raises:
        ArtefactError: the table or its parts are of another model, corpus or settings; or the model gives NaN.
        UserError: nothing was found, or the settings don't fit.
    """
    out, rules = Path(out), rules or Suppression()
    if out.suffix != ".parquet":
        raise UserError(f"{out}: the table is a Parquet file; call it {out.name}.parquet")
    language = _language(recognizer, language)
    chosen = choose(paths, splits, limit=limit)
    held = [name for name in splits if name not in ("train", UNNAMED)]
    if held:
        log.warning(
            "signs are spotted in %s too, as CiCo's released code does: an encoder trained on them has seen what it is "
            "measured on", " and ".join(held),
        )  # fmt: skip
    merged = [clip.seen_from(out.parent) for clip in chosen.clips]
    joined = out.with_name(f"{out.stem}.clips.jsonl.gz")
    header = SegmentsHeader(
        corpus=corpus or Path(paths[0]).resolve().parent.name,
        language=language,
        manifest=chosen.manifest or str(joined),
        manifest_sha256=manifests.file_hash(chosen.manifest) if chosen.manifest else manifests.content_hash(merged),
        model=recognizer.name,
        model_sha256=recognizer.digest,
        rate_hz=float(recognizer.needs.rate_hz or 25.0),
        stride=1,
        settings={
            "stage": "spot", **dataclasses.asdict(rules), "window_frames": recognizer.window_frames,
            "splits": sorted(splits), "with_blanks": with_blanks, "limit": limit,
        },
    )  # fmt: skip
    report_path = out.with_name(f"{out.name}.report.json")
    if out.exists() and not overwrite and _is_same(out, header):
        return _old_report(out, report_path)
    spotter = Spotter(recognizer, language, rules, with_blanks)
    parts = Parts(out, _facts(header), suffix=".parquet")
    with parts.open(overwrite=overwrite):
        rows, tally = _fill(parts, spotter, chosen.clips, header, quiet=quiet)
        report = SpotReport.of(
            out, rows, tally, rate_hz=header.rate_hz, num_clips=len(chosen.clips), num_refused=chosen.num_refused,
            num_model_classes=len(recognizer.glosses(language)) - 1,
        )  # fmt: skip
        if not report.num_spans:
            parts.remove()
            raise UserError(_nothing(report, rules))
        if not chosen.manifest:
            manifests.write(joined, merged)
        write_json(report_path, {name: value for name, value in vars(report).items() if name not in ("out", "is_old")})
        write_segments(out, header, rows)
        parts.remove()
    return report


def _language(recognizer: SeesWindows, language: str) -> str:
    known = recognizer.languages
    if language in known:
        return language
    if not language and len(known) == 1:
        return known[0]
    what = f"knows no language '{language}'" if language else "knows several languages"
    raise UserError(f"{recognizer.name} {what}; give --language, one of {', '.join(known)}")


def _facts(header: SegmentsHeader) -> dict[str, Any]:
    """The header in plain values, without the path of the manifest, which may move."""
    facts = dataclasses.asdict(header)
    del facts["manifest"]
    return facts


def _is_same(out: Path, header: SegmentsHeader) -> bool:
    found, wanted = _facts(read_segments(out).header), _facts(header)
    if found != wanted:
        raise ArtefactError(
            f"{out}: holds segments of {difference(found, wanted)}; give another name, or --overwrite to replace it"
        )
    return True


def _old_report(out: Path, path: Path) -> SpotReport:
    try:
        return SpotReport(str(out), **read_json(path), is_old=True)
    except (ArtefactError, OSError, ValueError, TypeError) as error:
        raise ArtefactError(f"{path}: is missing or damaged; give --overwrite to spot again") from error


def _fill(
    parts: Parts, spotter: Spotter, clips: Sequence[Clip], header: SegmentsHeader, *, quiet: bool
) -> tuple[list[Segment], Tally]:
    """Rows in the order of the manifests, and what was counted."""
    pieces = [clips[first : first + CLIPS_A_PART] for first in range(0, len(clips), CLIPS_A_PART)]
    todo = [number for number in range(len(pieces)) if not parts.path(number).exists()]

    def work() -> Iterator[Spotted]:
        for number in todo:
            done = []
            for spotted in spotter(pieces[number], corpus=header.corpus):
                done.append(spotted)
                yield spotted
            part = dataclasses.replace(header, settings={**header.settings, **Tally.of(done).to_dict()})
            write_segments(parts.path(number), part, [row for one in done for row in one.segments])

    total = sum(len(pieces[number]) for number in todo)
    for _ in command.progress(work(), "spotting", total=total, quiet=quiet):
        pass
    rows: list[Segment] = []
    tally = Tally()
    for number in range(len(pieces)):
        part = read_segments(parts.path(number))
        rows += part.rows
        tally += Tally.from_dict(part.header.settings)
    return rows, tally


def _nothing(report: SpotReport, rules: Suppression) -> str:
    if len(report.problems) == report.num_clips:
        clip, reason = next(iter(report.problems.items()))
        return f"{report.out}: none of {report.num_clips} clips could be read; the first, '{clip}': {reason}"
    return (
        f"{report.out}: of {report.num_windows} windows none shows a sign with a probability above {rules.threshold}; "
        "lower --threshold, or take a recogniser of a language that is nearer"
    )
