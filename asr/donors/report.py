"""A plan of donors as a table for people and for other programs."""

from __future__ import annotations

from asr.donors.planning import Donor, Plan

_HEADER = (
    "donor", "similarity", "weight", "hours", "typology", "syntax", "phonology", "inventory", "family", "atds",
    "phones", "script", "expected_error",
)  # fmt: skip


def _cells(donor: Donor) -> list[str]:
    distances = donor.typology
    numbers = [
        donor.similarity, donor.weight, donor.hours,
        *((distances.mean, distances.syntax, distances.phonology, distances.inventory, distances.family)
          if distances else (None,) * 5),
        donor.atds, donor.phones, donor.script, donor.expected_error,
    ]  # fmt: skip
    return [donor.language, *("" if value is None else f"{value:.3f}" for value in numbers)]


def to_tsv(plan: Plan) -> str:
    """One row per donor, the most similar first; unknown values are empty."""
    rows = [list(_HEADER), *map(_cells, plan.donors)]
    return "".join("\t".join(row) + "\n" for row in rows)


def to_text(plan: Plan) -> str:
    """The same in aligned columns, those that nothing is known in left out."""
    rows = [list(_HEADER), *map(_cells, plan.donors)]
    shown = [place for place in range(len(_HEADER)) if any(row[place] for row in rows[1:])]
    widths = {place: max(len(row[place] or "-") for row in rows) for place in shown}
    lines = ["  ".join(f"{row[place] or '-':>{widths[place]}}" for place in shown) for row in rows]
    lines.append(f"donors for {plan.target}; typology and its parts are distances, the rest similarities")
    if plan.curve is not None:
        curve = plan.curve
        lines.append(
            f"error = {curve.floor:.4f} + {curve.scale:.4f} * (1 + hours) ** -{curve.power:.3f}, "
            f"off by {curve.residual:.4f}"
        )
    return "\n".join(lines)
