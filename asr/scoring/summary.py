"""Figures of an evaluation as lines for people."""

from __future__ import annotations

from typing import Any

from asr.scoring.evaluation import Evaluation

_NUM_SHOWN = 12
_DIGITS = 12


def summary(evaluation: Evaluation, *, by_speaker: bool = False) -> str:
    """Return the figures as lines: a table of the protocols, what the headline counts, what is missing."""
    result = evaluation.to_dict()
    lines = [f"{'':14}{'WER':>8}  {'95 %':18}{'CER':>8}  {'95 %':18}  normaliser"]
    lines += [_line(protocol, figure) for protocol, figure in result["figures"].items()]
    lines += [
        f"{result['protocol']}: WER {result['wer']:.2%} of {result['num_reference_tokens']} words, "
        f"{result['substitutions']} sub, {result['deletions']} del, {result['insertions']} ins; "
        f"CER {result['cer']:.2%} of {result['num_reference_characters']} characters",
        f"{result['num_sentences']} recordings, {result['sentence_error_rate']:.2%} with an error; intervals from "
        f"{result['num_interval_units']} {_units(result['interval_unit'])}",
    ]
    foreign = " ".join(f"{char} {count}" for char, count in list(result["out_of_alphabet"]["reference"].items())[:8])
    if foreign:
        lines.append(f"no letters of '{evaluation.language}' in the references: {foreign}")
    if result["num_missing"]:
        lines.append(f"{result['num_missing']} without a hypothesis count as empty, such as {result['missing'][0]}")
    return "\n".join([*lines, *(_speakers(result) if by_speaker else [])])


def _units(unit: str) -> str:
    return {"speaker": "speakers", "recording": "recordings", "mixed": "speakers, or recordings of unknown ones"}[unit]


def _line(protocol: str, figure: dict[str, Any]) -> str:
    (low, high), (char_low, char_high) = figure["interval_95"], figure["cer_interval_95"]
    return (
        f"{protocol:14}{figure['wer']:>8.2%}  {f'[{low:.2%}, {high:.2%}]':18}{figure['cer']:>8.2%}  "
        f"{f'[{char_low:.2%}, {char_high:.2%}]':18}  {figure['normaliser']} {figure['normaliser_sha256'][:_DIGITS]}"
    )


def _speakers(result: dict[str, Any]) -> list[str]:
    rows = result["speakers"]
    lines = [f"{'speaker':24}{'recordings':>11}{'words':>8}{'WER':>9}  {'95 %':18}{'lenient':>9}{'CER':>9}"]
    for row in rows[:_NUM_SHOWN]:
        low, high = row["interval_95"]
        lines.append(
            f"{row['speaker'][:22]:24}{row['num_recordings']:>11}{row['num_reference_tokens']:>8}"
            f"{row['wer_' + result['protocol']]:>9.2%}  {f'[{low:.2%}, {high:.2%}]':18}"
            f"{row['wer_space_lenient']:>9.2%}{row['cer']:>9.2%}"
        )
    if len(rows) > _NUM_SHOWN:
        lines.append(f"… and {len(rows) - _NUM_SHOWN} speakers with fewer errors; --json has all of them")
    return lines if rows else ["no speakers are known; give a manifest as the reference"]
