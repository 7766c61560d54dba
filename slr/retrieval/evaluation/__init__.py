"""Honest evaluation of a score matrix: groups, ties, ceilings, intervals, languages, comparisons."""
