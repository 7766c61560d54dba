"""From a corpus as distributed to checked manifests: what every `prepare` command does, for signs and for speech.

A dataset module yields rows; this driver checks each of them (in threads, with the check that the caller brings),
writes one manifest per split and keeps every problem with the file and line it came from. A bad row never stops the
others::

    def prepare(raw: Path) -> Iterator[Row | Problem]:     # in slr/datasets/NAME.py or asr/datasets/NAME.py
        yield Row(Clip(id=..., path=..., kind="audio", split="train"), where=f"{table}:{line}")

    def check(clip: Clip) -> Clip | Problem:               # opens the media, fills num_frames and rate_hz;
        ...                                                # a UserError raised here becomes a Problem too

    report = run_prepare(prepare(raw), out_dir, check=check)
    raise typer.Exit(report.exit_code)                     # 0, 3 when some rows were left out, 1 when all were

Files in the output folder, each written atomically: `{split}.jsonl.gz`, `problems.jsonl` (every problem) and
`prepare.json` (the report).
"""

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from signwave import manifest, rundir
from signwave.errors import UserError
from signwave.manifest import Clip

DEFAULT_SPLIT = "all"
_NUM_PROBLEMS_IN_REPORT = 1000  # the report stays readable; problems.jsonl holds all of them


class Row(NamedTuple):
    """One clip and the place it was read from, `file:line` or a file."""

    clip: Clip
    where: str


class Problem(NamedTuple):
    """A row that was left out.

    `kind` is a short word that scripts can count: unreadable, empty, missing, label, label_too_long, …
    """

    where: str
    reason: str
    kind: str = "unreadable"

    def __str__(self) -> str:
        """`file:line: what is wrong`; a reason that names the place already stands alone."""
        return self.reason if self.reason.startswith(f"{self.where}: ") else f"{self.where}: {self.reason}"


Check = Callable[[Clip], Clip | Problem]


class Finished(NamedTuple):
    """What `finish` returns: the clips to write, and those that had to be left out after all."""

    clips: list[Clip]
    problems: list[Problem]


Finish = Callable[[list[Clip]], Finished]
_CHECK_SECONDS = 300.0


@dataclass
class SplitSummary:
    """What one manifest holds. `hours` counts the clips whose length is known."""

    num_clips: int = 0
    hours: float = 0.0
    num_persons: int = 0
    num_text_tokens: int = 0
    path: str = ""
    content_hash: str = ""


@dataclass
class PrepareReport:
    """The outcome of one `prepare`: what was written, what was left out and why.

    `extra` holds the caller's own figures (the corpus name, a character table).
    """

    out_dir: str
    dry_run: bool = False
    splits: dict[str, SplitSummary] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def num_clips(self) -> int:
        """Rows in all manifests together."""
        return sum(split.num_clips for split in self.splits.values())

    @property
    def exit_code(self) -> int:
        """0 = every row was taken, 3 = some were left out, 1 = all were."""
        if not self.problems:
            return 0
        return 3 if self.num_clips else 1

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for `--json` and `prepare.json`."""
        shown = self.problems[:_NUM_PROBLEMS_IN_REPORT]
        return {
            "out": self.out_dir,
            "dry_run": self.dry_run,
            "num_clips": self.num_clips,
            "hours": round(sum(split.hours for split in self.splits.values()), 6),
            "splits": {name: vars(split) for name, split in self.splits.items()},
            "num_problems": len(self.problems),
            "problem_counts": dict(Counter(problem.kind for problem in self.problems).most_common()),
            "problems": [problem._asdict() for problem in shown],
            "warnings": list(self.warnings),
            **self.extra,
        }

    def summary(self, *, num_problems: int = 10) -> str:
        """The report as a few lines for people."""
        lines = []
        for name, split in self.splits.items():
            people = f", {split.num_persons} people" if split.num_persons else ""
            lines.append(f"{name:>12}  {split.num_clips} clips, {split.hours:.2f} h{people}  {split.path}".rstrip())
        lines += [f"warning: {text}" for text in self.warnings]
        if self.problems:
            counts = Counter(problem.kind for problem in self.problems).most_common()
            lines.append(f"left out {len(self.problems)}: " + ", ".join(f"{kind} {count}" for kind, count in counts))
            lines += [f"  {problem}" for problem in self.problems[:num_problems]]
            if len(self.problems) > num_problems:
                more = len(self.problems) - num_problems
                lines.append(f"  … and {more} more" + ("" if self.dry_run else f", see {self.out_dir}/problems.jsonl"))
        if self.dry_run:
            lines.append("dry run: nothing was written")
        return "\n".join(lines)


def run_prepare(
    rows: Iterable[Clip | Row | Problem],
    out_dir: str | Path,
    *,
    check: Check | None = None,
    isolate: bool = False,
    on_clip: Callable[[Clip], None] | None = None,
    num_workers: int = 4,
    limit: int | None = None,
    fail_fast: bool = False,
    dry_run: bool = False,
    show_progress: bool = True,
    finish: Finish | None = None,
    extra: Callable[[PrepareReport], dict[str, Any]] | None = None,
) -> PrepareReport:
    """Check the rows of a corpus and write one manifest per split.

    Args:
        rows: what a dataset module yields; a bare `Clip` stands for a row whose place is its media file.
        out_dir: the folder for the manifests; it is created.
        check: opens the media of one clip and returns the completed clip, or the problem. Runs in threads. A
            `UserError` that it raises becomes a problem too.
        isolate: give each check a process of its own, for media from strangers: a decoder that crashes or hangs (five
            minutes) then costs one row. Slower by the start of a process a clip.
        on_clip: called in order with every clip that was kept, e.g. to count characters.
        num_workers: checks that run at the same time.
        limit: take at most this many rows of each split.
        fail_fast: stop with a `UserError` at the first problem; nothing is written.
        dry_run: check everything, write nothing.
        show_progress: show the progress on stderr.
        finish: gets every clip that was kept, of all splits, before anything is written (not on a dry run): repacking
            and the like.
        extra: gets the report before it is written and returns further figures of the caller, which the report and
            `prepare.json` then hold; it may add warnings.

    Returns:
        The report; its `exit_code` is the command's.

    Raises:
        UserError: at the first problem when `fail_fast`, or when the corpus holds no row at all.
    """
    report = PrepareReport(out_dir=str(out_dir), dry_run=dry_run)
    kept: dict[str, list[Clip]] = {}
    seen: dict[tuple[str, str], str] = {}
    if isolate and check is not None:
        check = partial(_check_in_child, check=check)
    results = _checked(_limited(rows, limit), check, num_workers)
    for row in _with_progress(results) if show_progress else results:
        outcome = row if isinstance(row, Problem) else _duplicate(row, seen)
        if isinstance(outcome, Problem):
            if fail_fast:
                raise UserError(f"{outcome}; leave out --fail-fast to keep the other rows")
            report.problems.append(outcome)
            continue
        clip = outcome.clip
        kept.setdefault(clip.split or DEFAULT_SPLIT, []).append(clip)
        if on_clip is not None:
            on_clip(clip)
    if not kept and not report.problems:
        raise UserError(
            f"nothing for {out_dir}: the corpus holds no row; check the folder that was given and its layout"
        )
    if finish is not None and not dry_run:
        kept = _finished(finish, kept, report, fail_fast=fail_fast)
    report.extra = extra(report) if extra is not None else {}
    _write(report, kept, Path(out_dir))
    return report


def _finished(
    finish: Finish, kept: dict[str, list[Clip]], report: PrepareReport, *, fail_fast: bool
) -> dict[str, list[Clip]]:
    clips, problems = finish([clip for split in kept.values() for clip in split])
    if problems and fail_fast:
        raise UserError(f"{problems[0]}; leave out --fail-fast to keep the other rows")
    report.problems += problems
    splits: dict[str, list[Clip]] = {}
    for clip in clips:
        splits.setdefault(clip.split or DEFAULT_SPLIT, []).append(clip)
    return splits


def _with_progress(results: Iterator[Row | Problem]) -> Iterable[Row | Problem]:
    from signwave.command import progress  # the command layer is needed only when somebody watches

    return progress(results, "checking")


def _limited(rows: Iterable[Clip | Row | Problem], limit: int | None) -> Iterator[Row | Problem]:
    taken: Counter[str] = Counter()
    for item in rows:
        if isinstance(item, Problem):
            yield item
            continue
        row = Row(item, item.path) if isinstance(item, Clip) else item
        taken[row.clip.split] += 1
        if limit is None or taken[row.clip.split] <= limit:
            yield row


def _checked(rows: Iterator[Row | Problem], check: Check | None, num_workers: int) -> Iterator[Row | Problem]:
    """The rows in their order, each after its check; a bounded number of checks is under way at any time."""
    if check is None:
        yield from rows
        return
    pool = ThreadPoolExecutor(max_workers=max(1, num_workers))
    pending: deque[Future[Row | Problem]] = deque()
    try:
        for row in rows:
            pending.append(pool.submit(_check_one, row, check))
            if len(pending) >= 4 * max(1, num_workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when the caller stops early: what hasn't started is not started
        pool.shutdown(wait=True, cancel_futures=True)


def _check_one(row: Row | Problem, check: Check) -> Row | Problem:
    if isinstance(row, Problem):
        return row
    try:
        outcome = check(row.clip)
    except UserError as error:
        return Problem(row.where, str(error), str(getattr(error, "kind", "invalid")))
    if isinstance(outcome, Problem):
        return outcome._replace(where=row.where)
    return Row(outcome, row.where)


def _check_in_child(clip: Clip, *, check: Check) -> Clip | Problem:
    from signwave.media.isolated import call_isolated

    return call_isolated(_check_for_parent, clip.path, check, clip, timeout_seconds=_CHECK_SECONDS)


def _check_for_parent(path: str, check: Check, clip: Clip) -> Clip | Problem:
    del path  # for the messages of call_isolated
    return check(clip)


def _duplicate(row: Row, seen: dict[tuple[str, str], str]) -> Row | Problem:
    """Ids are unique within a split; a corpus may list one clip in several (Common Voice's validated and train)."""
    key = (row.clip.split, row.clip.id)
    if key in seen:
        reason = f"id {row.clip.id!r} is already taken by {seen[key]}; every row of a split needs an id of its own"
        return Problem(row.where, reason, "duplicate_id")
    seen[key] = row.where
    return row


def _write(report: PrepareReport, kept: dict[str, list[Clip]], out_dir: Path) -> None:
    for split, clips in kept.items():
        summary = _summarise(clips)
        report.splits[split] = summary
        if report.dry_run:
            continue
        out_dir.mkdir(parents=True, exist_ok=True)
        summary.path = str(out_dir / f"{split}.jsonl.gz")
        absolute = (_absolute(clip) for clip in clips)
        summary.content_hash = manifest.write(summary.path, absolute)
    if report.dry_run:
        return
    out_dir.mkdir(parents=True, exist_ok=True)
    report.warnings += _stale(report, out_dir)
    lines = [json.dumps(problem._asdict(), ensure_ascii=False) + "\n" for problem in report.problems]
    rundir.atomic_write(out_dir / "problems.jsonl", "".join(lines))
    rundir.write_json(out_dir / "prepare.json", report.to_dict())


def _absolute(clip: Clip) -> Clip:
    poses_path = os.path.abspath(clip.poses_path) if clip.poses_path else ""
    return replace(clip, path=os.path.abspath(clip.path), poses_path=poses_path)


def _summarise(clips: list[Clip]) -> SplitSummary:
    seconds = sum(clip.duration_seconds or 0.0 for clip in clips)
    return SplitSummary(
        num_clips=len(clips),
        hours=seconds / 3600,
        num_persons=len({clip.person for clip in clips if clip.person}),
        num_text_tokens=sum(len(clip.text.split()) for clip in clips),
    )


def _stale(report: PrepareReport, out_dir: Path) -> list[str]:
    """Manifests of an earlier run that this one didn't write: they would be mistaken for a part of this corpus."""
    found = sorted(path.name for path in out_dir.glob("*.jsonl.gz"))
    fresh = {f"{split}.jsonl.gz" for split in report.splits}
    return [
        f"{out_dir / name} is from an earlier run; remove it if you don't need it"
        for name in found
        if name not in fresh
    ]
