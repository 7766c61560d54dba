"""The study of tokenizers: its corpora are apart, and its table holds what was measured."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from asr.tokenizers import Recipe
from signwave.rundir import read_json


@pytest.fixture(scope="module")
def study(repository: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository / "recipes" / "asr" / "tokenizer_study.py"))


@pytest.mark.parametrize("language", ["persian", "arabic", "urdu"])
def test_what_is_measured_on_was_not_learnt_from(study: dict[str, Any], shared_data: Path, language: str) -> None:
    corpus = study[language](shared_data)
    assert len(corpus.train) >= 500
    assert len(corpus.test) >= 500
    shared = set(corpus.train) & set(corpus.test)
    assert len(shared) <= 0.002 * len(corpus.test), shared  # a few headlines are in two treebanks
    assert all(len(words) > 500 for words in corpus.gold.values())


def test_a_row_of_the_table(study: dict[str, Any], shared_data: Path) -> None:
    corpus = study["arabic"](shared_data)
    small = corpus._replace(
        train=corpus.train[:50], test=corpus.test[:50], gold={"treebanks": corpus.gold["treebanks"][:99]}
    )
    found = study["study"](small, Recipe("characters"), "ar")
    assert found["treebanks"]["stems"]["recall"] == 1
    assert found["feasible_steady_20_ms"] >= found["feasible_fast_20_ms"] >= found["feasible_fast_80_ms"]
    lines = study["table"]({"ar": {"characters": found, "bpe-9": {"reason": "too small"}}}).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert any("too small" in line for line in lines)


def test_the_committed_figures(repository: Path) -> None:
    """Fewer bits a second and better boundaries than the tokenizer of the paper, at the same size."""
    document = read_json(repository / "docs" / "results" / "tokenizer_text.json")
    for language, rows in document["figures"].items():
        paper, ours = rows["paper-bpe-512"], rows["morphology-affixes-unigram-512"]
        assert ours["bits_per_second"] < paper["bits_per_second"], language
        for gold in {"treebanks", "unimorph"} & set(ours):
            assert ours[gold]["stems"]["f1_interval_95"][0] > paper[gold]["stems"]["f1_interval_95"][1], language
