"""Search in an index of many clips: two stages, beside exact comparison with all clips and mean vectors in HNSW.

    python tools/bench/bench_index.py [--quick] [--num-clips N] [--out FILE]

Clips are synthesised from captions with the word frequencies and lengths of real ones where the repository has its data
beside it (PHOENIX-2014T), of Zipf's law elsewhere: every word of a caption is a run of noisy copies of its direction,
between windows that mean nothing. Queries are other captions' words, in three "languages" whose directions differ a
little. Tokens are int8 on disk. Everything that is compared finds the ten best of the exact fine-grained score; stage 1
and its number of candidates are chosen on queries that aren't measured.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _result import write_result
from numpy.typing import NDArray

from signwave.index import Index
from signwave.index.engine import faiss
from signwave.index.interface import TokenBlock
from signwave.metrics import mean_rank_variance
from slr.models.dual_encoder import Embedded
from slr.retrieval.search.landmarks import Landmarks, fit
from slr.retrieval.search.rerank import rerank
from slr.retrieval.search.stage_one import LandmarkStage, Mean, StageOne

FloatArray = NDArray[np.float32]
DIM, MOST_TOKENS = 128, 64
NUM_TUNED, NUM_MEASURED, NUM_TIMED_EXACTLY, BEST = 40, 60, 5, 10
BLOCK = 4_000
CANDIDATES = (100, 200, 500, 1_000, 2_000, 5_000)
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "sign" / "phoenix2014T"


class Speech(NamedTuple):
    """What captions are drawn from: probability of each word, and lengths of real captions."""

    shares: NDArray[np.float64]
    lengths: NDArray[np.int64]
    source: str


def speech() -> Speech:
    """Of PHOENIX-2014T where it lies beside the repository, else of Zipf's law."""
    texts = []
    for path in sorted(REAL.glob("*.corpus.csv")) if REAL.is_dir() else ():
        with open(path, encoding="utf-8", newline="") as file:
            texts += [row["translation"].split() for row in csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE)]
    if not texts:
        shares = 1 / np.arange(1, 2_001)
        return Speech(shares / shares.sum(), np.arange(4, 24), "Zipf's law")
    counts = np.array(sorted(Counter(word for text in texts for word in text).values(), reverse=True), dtype=np.float64)
    return Speech(counts / counts.sum(), np.array([len(text) for text in texts]), "PHOENIX-2014T")


def unit(values: FloatArray) -> FloatArray:
    """Rows of unit length."""
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


class World:
    """Clips and queries.

    Args:
        num_clips: of the index.
        spoken: what captions are drawn from.
    """

    def __init__(self, num_clips: int, spoken: Speech) -> None:
        self.num_clips, self.spoken = num_clips, spoken
        rng = np.random.default_rng(0)
        self.words = unit(rng.normal(size=(len(spoken.shares), DIM)).astype(np.float32))
        noise = rng.normal(size=(3, *self.words.shape)).astype(np.float32) / DIM**0.5
        # The second and third language are further from the signs than the first, as those with less training data are.
        self.languages = [unit(self.words + far * part) for far, part in zip((0.3, 0.9, 1.2), noise, strict=True)]

    def caption(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Numbers of the words of one caption."""
        return rng.choice(len(self.words), int(rng.choice(self.spoken.lengths)), p=self.spoken.shares)

    def clip(self, number: int) -> FloatArray:
        """(M, DIM) float32, tokens of one clip, the same every time."""
        rng = np.random.default_rng([1, number])
        parts = [np.repeat(self.words[word][None], rng.integers(1, 5), axis=0) for word in self.caption(rng)]
        idle = rng.normal(size=(int(rng.integers(2, 12)), DIM)) / DIM**0.5
        tokens = np.concatenate([*parts, idle])[:MOST_TOKENS]
        return unit(tokens + 0.6 * rng.normal(size=tokens.shape) / DIM**0.5)

    def queries(self, count: int, *, seed: int) -> list[list[FloatArray]]:
        """For each query its words (N, DIM) in every language: some of the words of a clip of the index."""
        rng = np.random.default_rng([2, seed])
        found = []
        for _ in range(count):
            words = self.caption(np.random.default_rng([1, int(rng.integers(self.num_clips))]))
            kept = words[np.sort(rng.permutation(len(words))[: max(2, (2 * len(words)) // 3)])]
            found.append([unit(table[kept] + 0.1 * rng.normal(size=(len(kept), DIM)) / DIM**0.5)
                          for table in self.languages])  # fmt: skip
        return found


def embedded(items: list[FloatArray]) -> Embedded:
    """Padded tokens."""
    lengths = torch.tensor([len(item) for item in items])
    padded = torch.zeros(len(items), int(lengths.max()), DIM)
    for row, item in enumerate(items):
        padded[row, : len(item)] = torch.from_numpy(item)
    return Embedded(padded, lengths, padded[:, 0])


def build(world: World, stage: StageOne, folder: Path, queries: FloatArray) -> tuple[Index, float]:
    """An index with tokens, and the seconds that it took."""
    started = time.perf_counter()
    vectors = np.concatenate(
        [stage.clip_vectors(embedded([world.clip(i) for i in range(at, min(at + BLOCK, world.num_clips))]))
         for at in range(0, world.num_clips, BLOCK)]
    )  # fmt: skip

    def tokens() -> Iterator[FloatArray]:
        for number in range(world.num_clips):
            yield world.clip(number)

    index = Index.build(
        folder, vectors, [f"clip-{i:07d}" for i in range(world.num_clips)], [{"n": i} for i in range(world.num_clips)],
        info={"model_digest": "bench"}, metric=stage.metric, tokens=tokens(), token_dtype="int8", queries=queries,
    )  # fmt: skip
    return index, time.perf_counter() - started


def exact_scores(index: Index, queries: list[FloatArray]) -> FloatArray:
    """(Q, N) float32, the score of every clip for every query; some thousand clips are read at a time."""
    found = np.empty((len(queries), len(index)), dtype=np.float32)
    for at in range(0, len(index), BLOCK):
        rows = range(at, min(at + BLOCK, len(index)))
        block = index.token_block(rows)
        for place, query in enumerate(queries):
            found[place, at : rows.stop] = rerank(block, query)
    return found


def best_of(scores: FloatArray) -> NDArray[np.int64]:
    """Places of the best, best first."""
    return np.argsort(-scores, kind="stable")[:BEST]


def two_stages(index: Index, stage: StageOne, query: FloatArray, candidates: int) -> NDArray[np.int64]:
    """Rows of the best, as a search finds them."""
    rows = index.search(stage.query_vectors(embedded([query])), candidates).rows[0]
    return rows[best_of(rerank(index.token_block(rows), query))]


def timed(search: Callable[[FloatArray], NDArray[np.int64]], queries: list[FloatArray]) -> dict[str, Any]:
    """What a search finds, and how long it takes a query, warm."""
    for query in queries[:2]:
        search(query)
    found, seconds = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(search(query))
        seconds.append(time.perf_counter() - started)
    return {
        "found": found,
        "p50_ms": 1e3 * float(np.percentile(seconds, 50)),
        "p99_ms": 1e3 * float(np.percentile(seconds, 99)),
    }


def recall(found: list[NDArray[np.int64]], wanted: list[NDArray[np.int64]]) -> float:
    """Share of the exact ten best that was found."""
    return float(np.mean([len(set(a.tolist()) & set(b.tolist())) / BEST for a, b in zip(found, wanted, strict=True)]))


def enough_candidates(index: Index, stage: StageOne, queries: list[FloatArray], wanted: list[NDArray[np.int64]]) -> int:
    """The fewest candidates that hold the exact best."""
    for candidates in CANDIDATES:
        if recall([two_stages(index, stage, query, candidates) for query in queries], wanted) >= 0.995:
            break
    return candidates


def measure(world: World, stage: StageOne, folder: Path) -> dict[str, Any]:
    """Build with one kind of stage-1 vector, and search."""
    tuning, measured = world.queries(NUM_TUNED, seed=0), world.queries(NUM_MEASURED, seed=1)
    asked = [query[0] for query in measured]
    index, seconds = build(world, stage, folder, stage.query_vectors(embedded([query[0] for query in tuning])))
    exact = timed(lambda query: best_of(exact_scores(index, [query])[0]), asked[:NUM_TIMED_EXACTLY])
    del exact["found"]
    scores = exact_scores(index, [words for query in measured for words in query])
    by_language = scores.reshape(len(measured), -1, len(index))  # (Q, languages, N)
    wanted = [best_of(found) for found in by_language[:, 0]]
    tuned = [best_of(found) for found in exact_scores(index, [query[0] for query in tuning])]
    candidates = enough_candidates(index, stage, [query[0] for query in tuning], tuned)
    found = timed(lambda query: two_stages(index, stage, query, candidates), asked)
    facts = index.info()
    hnsw = mean_vectors(world, index, asked, wanted)
    return {
        "stage_one": stage.name,
        "dim": index.dim,
        "kind": facts["kind"],
        "why": facts["choice"]["reason"],
        "num_candidates": candidates,
        "recall_at_10": recall(found.pop("found"), wanted),
        **found,
        "build_seconds": seconds,
        "bytes_per_clip": facts["bytes"] / len(index),
        "bytes_per_clip_by_part": facts["bytes_per_row"],
        "exact": exact,
        "mean_vectors_hnsw": hnsw,
        "rank_spread_of_languages": spread(by_language)._asdict(),
    }


def mean_vectors(
    world: World, index: Index, asked: list[FloatArray], wanted: list[NDArray[np.int64]]
) -> dict[str, Any]:
    """The plain way: one mean vector a clip in HNSW, and no second stage."""
    vectors = np.concatenate(
        [Mean().clip_vectors(embedded([world.clip(i) for i in range(at, min(at + BLOCK, len(index)))]))
         for at in range(0, len(index), BLOCK)]
    )  # fmt: skip
    library = faiss()
    started = time.perf_counter()
    graph = library.IndexHNSWFlat(DIM, 32, library.METRIC_INNER_PRODUCT)
    graph.add(unit(vectors))
    seconds = time.perf_counter() - started
    graph.hnsw.efSearch = 256
    found = timed(lambda query: graph.search(unit(query.mean(0, keepdims=True)), BEST)[1][0], asked)
    return {"recall_at_10": recall(found.pop("found"), wanted), **found, "build_seconds": seconds}


def spread(scores: FloatArray) -> Any:
    """How much the rank of the clip that answers in the first language differs when asked in the others.

    scores: (Q, languages, N).
    """
    targets = scores[:, 0].argmax(1)
    own = np.take_along_axis(scores, targets[:, None, None], axis=2)
    return mean_rank_variance((scores > own).sum(2).T.astype(np.float64))


def landmark_stage(world: World) -> LandmarkStage:
    """Landmarks out of the words of other captions and the signs of some clips."""
    rng = np.random.default_rng(3)
    texts = [world.languages[0][world.caption(rng)] for _ in range(2_000)]
    noisy = [unit(words + 0.1 * rng.normal(size=words.shape) / DIM**0.5) for words in texts]
    clips = embedded([world.clip(i) for i in range(1_000)])
    fitted: Landmarks = fit(embedded(noisy), clips)
    return LandmarkStage(fitted)


def check(world: World) -> float:
    """Largest difference of the score of ragged candidates to the formula, before anything is timed."""
    from slr.retrieval.similarity import fine_grained

    clips, (query, *_) = [world.clip(i) for i in range(50)], world.queries(1, seed=9)
    block = TokenBlock(np.concatenate(clips), np.array([len(clip) for clip in clips]))
    expected = fine_grained(embedded(clips), embedded([query[0]])).mean[:, 0].numpy()
    return float(np.abs(rerank(block, query[0]) - expected).max())


def main() -> None:
    """Build, search, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100,000 clips, some minutes")
    parser.add_argument("--num-clips", type=int, default=1_000_000)
    parser.add_argument("--stages", default="landmarks", help="comma list out of landmarks and mean")
    parser.add_argument("--folder", type=Path, default=None, help="for the index, which may take gigabytes")
    parser.add_argument("--out", help="result file; by default a dated one beside this script")
    arguments = parser.parse_args()
    world = World(100_000 if arguments.quick else arguments.num_clips, speech())
    difference = check(world)
    print(f"largest difference of the re-ranking to the formula: {difference:.1e}")
    if difference > 1e-5:
        raise SystemExit("scores differ; nothing is timed")
    stages: dict[str, Callable[[], StageOne]] = {"landmarks": lambda: landmark_stage(world), "mean": Mean}
    figures: dict[str, Any] = {"num_clips": world.num_clips, "captions": world.spoken.source}
    ratio: dict[str, float] = {}
    for name in arguments.stages.split(","):
        folder = Path(tempfile.mkdtemp(dir=arguments.folder))
        try:
            found = measure(world, stages[name](), folder / "index")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        figures[name] = found
        ratio[f"{name}_p50_to_exact"] = found["p50_ms"] / found["exact"]["p50_ms"]
        print(
            f"{name}: recall {found['recall_at_10']:.3f}, p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms, "
            f"{found['num_candidates']} candidates, {found['kind']}; exact p50 {found['exact']['p50_ms']:.0f} ms; "
            f"mean HNSW recall {found['mean_vectors_hnsw']['recall_at_10']:.3f}"
        )
    print(write_result("index", figures, ratio, arguments.out))


if __name__ == "__main__":
    main()
