"""`slr map`: a dictionary and an isolated recogniser → the mapping, its picture and its page."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from signwave.errors import ArtefactError, UserError
from slr.crosslingual.building import Dictionaries, Evidence, Rules, decide, weigh
from slr.crosslingual.evidence import look
from slr.crosslingual.map_scores import Agreement, Coverage, compare, coverage, read_truth
from slr.crosslingual.mapping import Mapping, read_mapping, write_mapping
from slr.crosslingual.parts import difference
from slr.crosslingual.segments import BLANK_GLOSS
from slr.crosslingual.signs import Signs, load_signs
from slr.isolated.infer import IsolatedRecognizer


@dataclass
class MapReport:
    """What `map_dictionaries` did.

    Attributes:
        out: the table.
        summary: for people.
        coverage: how much of the auxiliary corpus it names.
        agreement: against the truth, where that was given.
        problems: "LANGUAGE: CLIP" → why one of its signs couldn't be read.
        is_old: the table was there already.
    """

    out: str
    summary: str
    coverage: Coverage
    agreement: Agreement | None = None
    problems: dict[str, str] = field(default_factory=dict)
    is_old: bool = False


def map_dictionaries(
    signs: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    target: str = "",
    target_signs: str | Path | None = None,
    rules: Rules | None = None,
    device: str = "auto",
    truth: str | Path | None = None,
    picture: str | Path | None = None,
    page: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> MapReport:
    """Map a dictionary and write the table; does nothing to one that is there, edited or not.

    Args:
        signs: auxiliary dictionary, see `load_signs`.
        model: run or bundle folder of an isolated recogniser.
        out: the table.
        target: language that is mapped to; "" takes the model's other one.
        target_signs: its dictionary; None takes the one the model was trained on.
        rules: when a row is kept.
        device: auto, cpu, cuda or cuda:N.
        truth: table of signs that really look alike.
        picture: PNG of the similarities.
        page: HTML page of pairs.
        overwrite: replace a table of other inputs.
        quiet: no progress on stderr.

    Raises:
        ArtefactError: the table is of other inputs, or the target's dictionary has changed since training.
        UserError: the model lacks the language, or nothing could be seen.
    """
    rules, out = rules or Rules(), Path(out)
    known = None if truth is None else read_truth(truth)  # first, so that a wrong file costs no time
    recognizer = IsolatedRecognizer.load(model, device=device)
    auxiliary = load_signs(signs)
    language = _target(recognizer, auxiliary, target)
    dictionary = _dictionary(recognizer, language, target_signs)
    header = _header(recognizer, auxiliary, dictionary, rules)
    is_old = out.exists() and not overwrite
    problems: dict[str, str] = {}
    if is_old:
        mapping = read_mapping(out)
        if any(mapping.header.get(name) != value for name, value in header.items()):  # people may note more there
            raise ArtefactError(
                f"{out}: a mapping with {_difference(mapping.header, header)}; give another name, or --overwrite to "
                "replace it, edits included"
            )
    if not is_old or picture is not None or page is not None:
        cache = out.with_name(f"{out.name}.cache")
        found = Dictionaries(
            auxiliary, look(recognizer, auxiliary, cache, quiet=quiet), dictionary,
            look(recognizer, dictionary, cache, quiet=quiet), language, recognizer.glosses(language),
        )  # fmt: skip
        for one, seen in ((auxiliary, found.seen_auxiliary), (dictionary, found.seen_target)):
            # Corpora number their clips alike.
            problems |= {f"{one.name}: {one.signs[place].clip.id}": reason for place, reason in seen.problems.items()}
        evidence = weigh(found, rules=rules)
        if not is_old:
            mapping = Mapping(decide(evidence, rules=rules), header)
            write_mapping(out, mapping)
        _show(evidence, mapping, found, picture=picture, page=page, quiet=quiet)
    covered = coverage(mapping, auxiliary.signs)
    sources = sorted({sign.gloss for sign in auxiliary.signs} - {BLANK_GLOSS})
    agreement = None if known is None else compare(mapping, known, sources=sources)
    summary = _summary(out, covered, agreement, is_old=is_old)
    if recognizer.temperature(language) == 1:
        summary += f"\nscores are not calibrated: {recognizer.name} had no dev signs of {language} when it was trained"
    return MapReport(str(out), summary, covered, agreement, problems, is_old)


def _header(recognizer: IsolatedRecognizer, auxiliary: Signs, dictionary: Signs, rules: Rules) -> dict[str, str]:
    """What a table is made from; its values as they are read again."""
    values = {
        "auxiliary": auxiliary.name,
        "auxiliary_sha256": auxiliary.sha256,
        "auxiliary_manifest_sha256": auxiliary.manifest_sha256,
        "target": dictionary.name,
        "target_sha256": dictionary.sha256,
        "model": recognizer.name,
        "model_sha256": recognizer.digest,
        "rules": ", ".join(f"{name}={value}" for name, value in dataclasses.asdict(rules).items()),
    }
    return {name: " ".join(value.split()) for name, value in values.items()}


def _difference(found: dict[str, str], wanted: dict[str, str]) -> str:
    """What differs between two headers; of rules, which."""
    if any(found.get(name) != value for name, value in wanted.items() if name != "rules"):
        return difference(found, wanted)
    old, new = (dict(item.partition("=")[::2] for item in one.get("rules", "").split(", ")) for one in (found, wanted))
    return f"other rules: {difference(old, new)}"


def _target(recognizer: IsolatedRecognizer, auxiliary: Signs, target: str) -> str:
    """The language that is mapped to."""
    if target:
        return recognizer.known(target)
    own = {name for name, source in recognizer.sources.items() if source.get("sha256") == auxiliary.sha256}
    others = [name for name in recognizer.languages if name not in own and name != auxiliary.name]
    if len(others) != 1:
        raise UserError(
            f"{recognizer.name} has the languages {', '.join(recognizer.languages)}; say which one to map to: "
            "--target NAME"
        )
    return others[0]


def _dictionary(recognizer: IsolatedRecognizer, language: str, path: str | Path | None) -> Signs:
    source = recognizer.sources.get(language, {})
    where = Path(path or source.get("path") or "(unknown)")
    if not where.exists():
        raise UserError(f"the signs of '{language}' are not at {where}; give them: --target-signs FILE")
    found = load_signs(where, name=language)
    if source.get("sha256") not in (None, found.sha256):
        raise ArtefactError(
            f"{where}: not the signs of '{language}' that {recognizer.name} was trained on; train it again, or give "
            "those"
        )
    return found


def _show(
    evidence: Evidence,
    mapping: Mapping,
    found: Dictionaries,
    *,
    picture: str | Path | None,
    page: str | Path | None,
    quiet: bool,
) -> None:
    from signwave.rundir import atomic_write

    if picture is not None:
        from slr.crosslingual.map_picture import draw

        atomic_write(picture, draw(evidence, mapping))
    if page is not None:
        from slr.crosslingual.review import write_page

        write_page(page, mapping, found.auxiliary, found.target, quiet=quiet)


def _summary(out: Path, covered: Coverage, agreement: Agreement | None, *, is_old: bool) -> str:
    lines = [
        f"{out}: {covered.num_mapped} of {covered.num_glosses} glosses mapped, {covered.num_mapped_tokens} of "
        f"{covered.num_tokens} tokens ({100 * covered.tokens:.1f} %); {covered.num_shared_targets} target glosses have "
        f"several{'; it was there already' if is_old else ''}"
    ]
    if agreement is not None:
        lines.append(
            f"precision {100 * agreement.precision:.1f} % ({agreement.num_right} of {agreement.num_kept} kept), "
            f"{100 * agreement.recall:.1f} % of the {agreement.num_shared} signs that are really shared were found"
        )
    return "\n".join(lines)
