"""Text normalisers per language.

Perso-Arabic languages get a table each, never one for all: what unifies Persian spelling destroys Urdu. A table
unifies code points that look the same in print and keeps every letter that a reader would miss.
"""

from __future__ import annotations

from collections.abc import Collection

from asr.text.tables import check_groups, choosable, chosen
from signwave.errors import UserError
from signwave.text import Normaliser

_FOLD_CASE = ("nfkc", "lower", "nfkc")  # lower case of a composed letter may be decomposed (İ)
ENGLISH = Normaliser("english-2", steps=(*_FOLD_CASE, "strip_punctuation", "collapse_spaces"))
ANY = Normaliser("any-2", steps=("strip_invisible", *_FOLD_CASE, "strip_punctuation", "collapse_spaces"))
"""For languages without a normaliser of their own, and for models of several languages."""

_TABLES = {"fa": "persian-2", "ar": "arabic-2", "ur": "urdu-2"}
# The map comes after NFKC, which resolves presentation forms into letters that the map must see; and after the vowel
# marks are gone, which would stand between a letter and its hamza.
_BEFORE_MAP = ("strip_isolated_marks", "strip_format", "nfkc", "lower", "strip_tatweel", "strip_vowel_marks", "map")
_AFTER_MAP = ("strip_marks", "ascii_digits", "strip_punctuation")
# Persian words are written with the non-joiner inside; elsewhere it is a space that somebody wanted narrow.
_NON_JOINER = {"fa": "tidy_zwnj", "ar": "zwnj_to_space", "ur": "zwnj_to_space"}


def perso_arabic(code: str, *, fold: Collection[str] = (), keep: Collection[str] = ()) -> Normaliser:
    """Make a normaliser from the table of a language.

    Args:
        code: fa, ar or ur.
        fold: groups of spellings to unify besides those of the default; its name says so.
        keep: groups of the default to leave alone.

    Raises:
        UserError: the table has no such group.
    """
    check_groups(code, [*fold, *keep])
    default = {group for group, use in choosable(code).items() if use == "default"}
    groups = (default | set(fold)) - set(keep)
    changes = [f"+{group}" for group in sorted(groups - default)] + [f"-{group}" for group in sorted(default - groups)]
    steps = (*_BEFORE_MAP, *_AFTER_MAP, _NON_JOINER[code], "collapse_spaces")
    return Normaliser(_TABLES[code] + "".join(changes), steps=steps, mapping=chosen(code, groups))


PERSIAN, ARABIC, URDU = (perso_arabic(code) for code in _TABLES)
NORMALISERS = {"en": ENGLISH, "fa": PERSIAN, "ar": ARABIC, "ur": URDU}


def for_language(language: str) -> Normaliser:
    """Return what a model's texts go through: for a code such as `fa` or `fa-IR`; `ANY` where there is no own one."""
    return NORMALISERS.get(primary(language), ANY)


def for_scoring(language: str, *, fold: Collection[str] = ()) -> Normaliser:
    """Return what references and hypotheses go through before they are compared.

    It is `for_language`'s, and where the table says so it also unifies spellings that a model may well tell apart:
    the hamza of an Arabic alef.

    Args:
        language: a code such as `ar` or `ar-EG`.
        fold: further groups of spellings to unify, see `tables.choosable`.

    Raises:
        UserError: the language has no such group, or no table at all.
    """
    code = primary(language)
    if code not in _TABLES:
        if fold:
            raise UserError(f"'{language}' has no table of spellings, so none to fold; there are {', '.join(_TABLES)}")
        return for_language(language)
    scoring = [group for group, use in choosable(code).items() if use == "scoring"]
    return perso_arabic(code, fold=[*scoring, *fold])


def primary(language: str) -> str:
    """Return the first part of a language code, in lower case.

    >>> primary("fa_IR")
    'fa'
    """
    return language.replace("_", "-").split("-")[0].lower()
