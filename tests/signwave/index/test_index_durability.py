"""An index survives kill -9, a full disk, a second writer and damaged files: whole, or it names the bad file."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from signwave.errors import ArtefactError
from signwave.index import Index
from signwave.index.lock import exclusive

INFO = {"model_digest": "m1"}
NUM_ROWS = 60


def vectors_of(step, count=NUM_ROWS, dim=8):
    vectors = np.random.default_rng(step).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def build(folder, step, **options):
    ids = [f"clip{i}" for i in range(NUM_ROWS)]
    tokens = [np.full((2, 4), step, dtype=np.float32)] * NUM_ROWS
    payload = [{"step": step}] * NUM_ROWS
    return Index.build(folder, vectors_of(step), ids, payload, info=INFO, tokens=tokens, **options)


def step_of(index):
    """The step an index was built in; every part of it must be of that one step."""
    step = index.payload(0)["step"]
    assert len(index) == NUM_ROWS
    for row in range(NUM_ROWS):
        assert index.payload(row) == {"step": step}
        assert (index.tokens(row) == step).all()
    assert np.array_equal([index.vector(row) for row in range(NUM_ROWS)], vectors_of(step))
    return step


# Changes: each step is a function of its number, and so is what the index holds after it.


def rows_of_step(step):
    """Ids that a step writes: new ones, or some that were there."""
    return [f"new{step}-{i}" for i in range(5)] if step % 4 == 1 else [f"clip{(7 * step + i) % 60}" for i in range(20)]


def take_step(index, step):
    """Add, upsert, delete, compact, and so on."""
    if step % 4 == 0:
        index.compact()
    elif step % 4 == 3:
        index.delete(rows_of_step(step - 2))
    else:
        ids = rows_of_step(step)
        tokens = [np.full((2, 4), step, dtype=np.float32)] * len(ids)
        write = index.add if step % 4 == 1 else index.upsert
        write(vectors_of(step, len(ids)), ids, [{"step": step, "id": i} for i in ids], tokens=tokens)


def contents_after(step):
    """id → (step that wrote it, place in that step), in order."""
    held = {f"clip{i}": (0, i) for i in range(NUM_ROWS)}
    for earlier in range(1, step + 1):
        ids = rows_of_step(earlier - 2 if earlier % 4 == 3 else earlier)
        if earlier % 4:
            held = {identity: value for identity, value in held.items() if identity not in ids}
        if earlier % 4 in (1, 2):
            held |= {identity: (earlier, place) for place, identity in enumerate(ids)}
    return held


def last_step_of(index):
    """The last step that an index went through; every row must be what that step leaves, and no row too many."""
    ids = index.ids
    rows = [index.row_of(identity) for identity in ids]
    steps = [payload["step"] for payload in index.payloads(rows)]
    held = {}
    for step in range(max(steps), max(steps) + 3):
        held[step] = contents_after(step)
    (found, *_) = [step for step, contents in held.items() if list(contents) == ids] or [None]
    assert found is not None
    for identity, row, step in zip(ids, rows, steps, strict=True):
        wrote, place = held[found][identity]
        assert step == wrote
        assert (index.tokens(row) == step).all()
        count = NUM_ROWS if step == 0 else len(rows_of_step(step))
        assert np.array_equal(index.vector(row), vectors_of(step, count)[place])
    hits = index.search(vectors_of(0), 3)
    assert set(hits.ids.ravel()) <= set(ids)
    return found


# Imports once, then forks a writer on each line it reads and prints its process id; writers publish for ever.
FORKING_WRITER = f"""
import os, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import test_index_durability as t
import faiss, pyarrow.compute
folder, how = sys.argv[1:]
for line in sys.stdin:
    step = int(line)
    child = os.fork()
    if child == 0:
        os.close(1)
        index = t.Index.open(folder)
        while True:
            if how == "build":
                t.build(folder, step)
            else:
                t.take_step(index, step)
            step += 1
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""
STEP_OF = {"build": step_of, "change": last_step_of}


def writer_on(folder, how):
    """A process that forks writers; see FORKING_WRITER."""
    command = [sys.executable, "-c", FORKING_WRITER, str(folder), how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill_writers(folder, num_kills, how, seed=0):
    """Start and kill writers; returns the step found after each kill."""
    index = build(folder, 0)
    rng, steps = random.Random(seed), [STEP_OF[how](index)]
    begin = time.monotonic()
    build(folder, 0)
    shortest = seconds_per_step = time.monotonic() - begin
    with writer_on(folder, how) as writer:
        for _ in range(num_kills):
            writer.stdin.write(f"{steps[-1] + 1}\n")
            writer.stdin.flush()
            child = int(writer.stdout.readline())
            time.sleep(rng.uniform(0, 5 * seconds_per_step))
            os.kill(child, signal.SIGKILL)
            assert writer.stdout.readline() == "dead\n"
            index = Index.open(folder)
            index.verify()
            steps.append(STEP_OF[how](index))
            # Three in a row that published nothing: the machine got busier, for a while.
            stuck = len(steps) > 3 and steps[-1] == steps[-4]
            seconds_per_step = 1.5 * seconds_per_step if stuck else max(shortest, seconds_per_step / 1.5)
        writer.stdin.close()
    return steps


@pytest.mark.parametrize("how", ["build", "change"])
def test_killed_writers_leave_a_whole_index(tmp_path, how):
    steps = kill_writers(tmp_path / "index", 30, how)
    assert steps == sorted(steps)
    assert steps[-1] > 8  # the writers did publish, changes of every kind
    build(tmp_path / "index", 1000)  # sweeps what the killed ones left
    assert not_needed(tmp_path / "index") == []
    assert len(list((tmp_path / "index/generations").iterdir())) == 2


def not_needed(folder):
    """Files of killed or failed writers: temporary, or segments that the two kept generations don't list."""
    manifests = [json.loads(path.read_text()) for path in folder.glob("generations/*/MANIFEST.json")]
    listed = {entry["name"] for manifest in manifests for entry in manifest["segments"]}
    segments = [path.name for path in folder.glob("segments/*") if path.name not in listed]
    return sorted([*segments, *(path.name for path in folder.rglob("*") if ".tmp-" in path.name)])


def test_readers_see_whole_generations_while_a_writer_publishes(tmp_path):
    """Two generations are kept and a reader that loses the race reads again."""
    build(tmp_path / "index", 0)
    with writer_on(tmp_path / "index", "build") as writer:
        writer.stdin.write("1\n")
        writer.stdin.flush()
        child = int(writer.stdout.readline())
        seen = [step_of(Index.open(tmp_path / "index")) for _ in range(60)]
        while Index.open(tmp_path / "index").info()["generation"] < 4:
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        writer.stdin.close()
    assert seen == sorted(seen)


def test_a_reader_goes_on_while_a_writer_changes_and_sweeps(tmp_path, monkeypatch):
    """It takes no lock, and what it has open stays readable after the files are gone, mapped or not."""
    monkeypatch.setattr("signwave.index.files._MAPPED_FROM_BYTES", 0)
    build(tmp_path / "index", 0)
    old, moving = Index.open(tmp_path / "index"), Index.open(tmp_path / "index")
    files = {path.name for path in (tmp_path / "index/segments").iterdir()}
    before = old.search(vectors_of(0), 7)
    with writer_on(tmp_path / "index", "change") as writer:
        writer.stdin.write("1\n")
        writer.stdin.flush()
        child = int(writer.stdout.readline())
        steps = [0]
        while steps[-1] < 12 or len(steps) < 30:
            hits = old.search(vectors_of(0), 7, where={"step": 0})
            assert hits.ids.tolist() == before.ids.tolist()
            assert hits.scores.tolist() == before.scores.tolist()
            assert step_of(old) == 0
            assert not old.token_block(hits.rows[0]).data.any()
            if moving.refresh():
                steps.append(last_step_of(moving))
            steps.append(last_step_of(Index.open(tmp_path / "index")))
        os.kill(child, signal.SIGKILL)
        writer.stdin.close()
    assert steps == sorted(steps)
    assert not files & {path.name for path in (tmp_path / "index/segments").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["build", "change"])
def test_killed_writers_many_times(tmp_path, how):
    steps = kill_writers(tmp_path / "index", 400, how, seed=1)
    assert steps == sorted(steps)


@pytest.mark.parametrize("function", ["fsync", "rename", "replace", "open", "chmod"])
def test_failure_of_any_system_call_keeps_old_or_new(tmp_path, monkeypatch, function):
    """Fail the n-th call for every n: also the first build of all, and the pointer's rename."""
    real, folder = getattr(os, function), tmp_path / "index"
    last, succeeded = None, False
    for fail_at in range(1, 60):
        calls = 0

        def failing(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == fail_at:  # noqa: B023 - used before the next round
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, function, failing)
            try:
                build(folder, fail_at)
                succeeded = calls < fail_at
            except ArtefactError:
                pass
        if (folder / "CURRENT").exists():
            found = step_of(Index.open(folder))
            assert found in (last, fail_at)
            last = found
        assert not list(folder.glob("*/.tmp-*"))
        if succeeded:
            break
    assert succeeded
    assert last == fail_at


@pytest.mark.parametrize("function", ["fsync", "rename", "replace", "open", "chmod"])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_failure_of_any_system_call_in_a_change_keeps_old_or_new(tmp_path, monkeypatch, function, step):
    real, folder = getattr(os, function), tmp_path / "index"
    index = build(folder, 0)
    for earlier in range(1, step):
        take_step(index, earlier)
    for fail_at in range(1, 60):
        calls = 0

        def failing(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == fail_at:  # noqa: B023 - used before the next round
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        before, failed = contents_of(index), True
        with monkeypatch.context() as patch:
            patch.setattr(os, function, failing)
            try:
                take_step(index, step)
                failed = False
            except ArtefactError:
                pass
        fresh = Index.open(folder)
        fresh.verify()
        assert not_needed(folder) == []
        if not failed:
            break
        if contents_of(fresh) != before or (step == 4 and fresh.info()["generation"] != index.info()["generation"]):
            break  # published, and then a flush of the pointer's folder failed
        assert contents_of(index) == before
    assert last_step_of(Index.open(folder)) in (step, step - 1 if step == 4 else step)
    assert fail_at > 1


def contents_of(index):
    return [(identity, index.payload(index.row_of(identity))) for identity in index.ids]


HOLDER = """
import pathlib, sys
from signwave.index.lock import exclusive
with exclusive(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_holds_the_lock(tmp_path):
    folder = tmp_path / "index"
    index = build(folder, 1)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        for change in (lambda: index.delete(["clip1"]), lambda: build(folder, 2)):
            with pytest.raises(ArtefactError, match=f"locked by pid {holder.pid} on host .*; one process at a time"):
                change()
        assert step_of(Index.open(folder)) == 1  # readers need no lock
        holder.kill()
    assert index.delete(["clip1"]) == 1  # the lock died with its process


def test_two_writers_at_once_one_is_refused(tmp_path):
    build(tmp_path / "index", 1)
    with exclusive(tmp_path / "index"), pytest.raises(ArtefactError, match="locked by pid"):
        build(tmp_path / "index", 2)


FULL_DISK = f"""
import resource, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import test_index_durability as t
from pathlib import Path
folder = Path(sys.argv[1])
t.build(folder, 1)
sizes = sorted({{p.stat().st_size for p in folder.rglob("*") if p.is_file()}})
refused = 0
for size in sizes:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, resource.RLIM_INFINITY))
    try:
        t.build(folder, 1)
    except t.ArtefactError as error:
        refused += 1
        assert "previous" in str(error) and chr(10) not in str(error), error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert t.step_of(t.Index.open(folder)) == 1
    assert not [p for p in folder.rglob("*") if p.name.startswith(".tmp-")]
t.build(folder, 2)
print(refused, len(sizes))
"""


def test_a_full_disk_leaves_the_previous_generation(tmp_path):
    """Every file in turn is the one that does not fit (a file size limit stands in for the full disk)."""
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "index")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    refused, sizes = map(int, run.stdout.split())
    # The lock file's few bytes may be the smallest; all others stop the build.
    assert refused >= sizes - 1 >= 5
    assert step_of(Index.open(tmp_path / "index")) == 2


def test_room_is_checked_before_anything_is_written(tmp_path, monkeypatch):
    build(tmp_path / "index", 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ArtefactError, match=r"needs 0\.1 MB, the disk has 0\.0 MB free; make room"):
        build(tmp_path / "index", 2)
    assert step_of(Index.open(tmp_path / "index")) == 1


def files_of(folder):
    """Every file that a reader reads, by name; of a second segment's the names are prefixed."""
    generation = folder / "generations" / (folder / "CURRENT").read_text().split()[0]
    files = {path.name: path for path in [folder / "CURRENT", *generation.iterdir()]}
    for place, entry in enumerate(json.loads((generation / "MANIFEST.json").read_text())["segments"]):
        segment = folder / "segments" / entry["name"]
        files |= {("more/" if place else "") + path.name: path for path in segment.iterdir()}
    return files


@pytest.mark.parametrize("kind", ["flat", "ivf_sq8", "ivf_fastscan"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_damaged_files_are_refused_by_name(tmp_path, monkeypatch, kind, damage):
    monkeypatch.setattr("signwave.index.tuning._MIN_ROWS_APPROXIMATE", 1)
    monkeypatch.setattr("signwave.index.changes.SMALL_ROWS", 0)
    built = build(tmp_path / "index", 1, kind=kind, queries=vectors_of(5), token_dtype="int8")
    built.add(vectors_of(7, 2), ["b", "c"], [{}, {}], tokens=[np.ones((1, 4))] * 2)
    built.delete(["c"])
    files = files_of(tmp_path / "index")
    faiss_files = set() if kind == "flat" else {"vectors.faiss"}
    of_a_segment = {"vectors.npy", "rows.arrow", "payload.jsonl", "tokens.npy", "token_offsets.npy", "token_scales.npy"}
    more = {f"more/{name}" for name in of_a_segment}
    own = {"CURRENT", "MANIFEST.json", "dead-000002.npy", "queries.npy"}
    assert files.keys() == own | of_a_segment | more | faiss_files
    for name, path in files.items():
        good = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            bad = good[: len(good) // 2] if damage == "truncated" else flip(good, len(good) // 2, 3)
            path.write_bytes(bad)
        with pytest.raises(ArtefactError, match=name.removeprefix("more/")):
            Index.open(tmp_path / "index")
        path.write_bytes(good)
    Index.open(tmp_path / "index").verify()


def flip(data, byte, bit):
    return data[:byte] + bytes([data[byte] ^ (1 << bit)]) + data[byte + 1 :]


def mutated(data, rng):
    """Flip a bit, overwrite a run, cut the end off, insert or append bytes."""
    place = rng.randrange(len(data))
    how = rng.randrange(5)
    if how == 0:
        return flip(data, place, rng.randrange(8))
    if how == 1:
        return data[:place] + rng.randbytes(min(8, len(data) - place)) + data[place + 8 :]
    if how == 2:
        return data[:place]
    return data[:place] + rng.randbytes(4) + data[place:] if how == 3 else data + rng.randbytes(1 + place % 9)


def test_200_mutated_files_are_refused(tmp_path):
    rng = random.Random(0)
    build(tmp_path / "index", 1)
    files = sorted(files_of(tmp_path / "index").values())
    for _ in range(200):
        path = rng.choice(files)
        good = path.read_bytes()
        bad = mutated(good, rng)
        if bad == good:
            continue
        path.write_bytes(bad)
        with pytest.raises(ArtefactError):
            Index.open(tmp_path / "index")
        path.write_bytes(good)
    assert step_of(Index.open(tmp_path / "index")) == 1


def test_unchecked_token_files_are_still_checked_by_verify(tmp_path):
    build(tmp_path / "index", 1)
    path = files_of(tmp_path / "index")["tokens.npy"]
    path.write_bytes(flip(path.read_bytes(), 200, 1))
    index = Index.open(tmp_path / "index", check_tokens=False)
    with pytest.raises(ArtefactError, match=r"tokens\.npy does not match its SHA-256"):
        index.verify()
    path.write_bytes(b"short")
    with pytest.raises(ArtefactError, match=r"tokens\.npy has 5 bytes, the manifest says"):
        Index.open(tmp_path / "index", check_tokens=False)


def test_large_files_are_hashed_only_when_asked(tmp_path, monkeypatch):
    """Vectors, tokens and payloads may be many gigabytes; what FAISS and Arrow parse is hashed whatever its size."""
    monkeypatch.setattr("signwave.index.tuning._MIN_ROWS_APPROXIMATE", 1)
    monkeypatch.setattr("signwave.index.segment._BULK_CHECKED_BYTES", 0)
    build(tmp_path / "index", 1, kind="ivf_sq8", token_dtype="int8")
    passed = set()
    for name, path in files_of(tmp_path / "index").items():
        good = path.read_bytes()
        path.write_bytes(flip(good, len(good) - 3, 1))
        with pytest.raises(ArtefactError, match=name):
            Index.open(tmp_path / "index", check_tokens=True)
        try:
            index = Index.open(tmp_path / "index")
        except ArtefactError:
            pass
        else:
            passed.add(name)
            with pytest.raises(ArtefactError, match=name):
                index.verify()
        path.write_bytes(good)
    assert passed == {"vectors.npy", "tokens.npy", "token_scales.npy", "payload.jsonl"}


def test_the_first_format_says_to_build_again(tmp_path):
    manifest = json.dumps({"format": 1, "n": 3, "dim": 8, "files": {}}).encode()
    (tmp_path / "generations/000001").mkdir(parents=True)
    (tmp_path / "generations/000001/MANIFEST.json").write_bytes(manifest)
    (tmp_path / "CURRENT").write_text(f"000001 {hashlib.sha256(manifest).hexdigest()}\n")
    with pytest.raises(ArtefactError, match=r"000001: index format 1, this version reads 2; build the index again$"):
        Index.open(tmp_path)
    assert step_of(build(tmp_path, 5)) == 5  # which is possible in the same folder


FORGED = f"""
import random, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, resource.RLIM_INFINITY))
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import test_index_durability as t
from pathlib import Path
from signwave.index import engine
rng, refused = random.Random(0), 0
space, vectors = engine.Space(8, "cosine", 1.0), t.vectors_of(0, 300)
for kind in engine.KINDS[1:]:
    path = Path(sys.argv[1]) / kind
    lists = engine.train_lists(vectors, space, held_out=t.np.empty(0, dtype=t.np.int64))
    engine.write(engine.create(vectors, space, kind=kind, lists=lists), path)
    good = path.read_bytes()
    for _ in range(70):
        path.write_bytes(t.mutated(good, rng))
        try:
            engine.read(path, kind=kind, count=300, width=8)
        except t.ArtefactError:
            refused += 1
print(refused)
"""


def test_mutated_faiss_files_do_not_end_the_process_even_unchecked(tmp_path):
    """Defence in depth: with a forged checksum FAISS sees the file, and still the process lives."""
    run = subprocess.run([sys.executable, "-c", FORGED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 60


def test_another_kind_of_faiss_index_is_not_read(tmp_path):
    from signwave.index import engine

    space = engine.Space(8, "cosine", 1.0)
    engine.write(engine.create(vectors_of(0), space, kind="hnsw", lists=None), tmp_path / "file")
    data = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(b"IxRo" + data[4:])
    with pytest.raises(ArtefactError, match="starts with b'IxRo', which is no 'hnsw' index"):
        engine.read(tmp_path / "file", kind="hnsw", count=NUM_ROWS, width=8)
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ArtefactError, match="the manifest says hnsw, 61 vectors of 8; build it again"):
        engine.read(tmp_path / "file", kind="hnsw", count=NUM_ROWS + 1, width=8)


@pytest.mark.parametrize(
    ("forge", "text"),
    [
        (
            lambda m: m["files"].update({"../../../secret": {"bytes": 1, "sha256": "0"}}),
            r"lists the file '\.\./\.\./\.\./s",
        ),
        (
            lambda m: m["segments"][0]["files"].update({"/etc/passwd": {"bytes": 1, "sha256": "0"}}),
            "lists the file '/etc",
        ),
        (lambda m: m["segments"][0].update(name="../../secret"), r"lists the segment '\.\./\.\./secret'"),
        (lambda m: m.update(segments={}), "no list of segments"),
        (lambda m: m["segments"][0].pop("rows"), "a segment without its facts"),
        (lambda m: m["segments"][0].pop("efforts"), "its manifest lacks 'efforts'"),
        (lambda m: m.pop("metric"), "its manifest lacks 'metric'"),
        (lambda m: m.pop("files"), "no table of files"),
    ],
)
def test_a_forged_manifest_is_refused_and_can_name_no_file_elsewhere(tmp_path, forge, text):
    build(tmp_path / "index", 1)
    files = files_of(tmp_path / "index")
    manifest = json.loads(files["MANIFEST.json"].read_text())
    forge(manifest)
    data = json.dumps(manifest).encode()
    files["MANIFEST.json"].write_bytes(data)
    files["CURRENT"].write_text(f"000001 {hashlib.sha256(data).hexdigest()}\n")
    with pytest.raises(ArtefactError, match=text) as caught:
        Index.open(tmp_path / "index")
    assert "\n" not in str(caught.value)


def test_vectors_written_wrong_are_found_by_verify(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("signwave.index.store.check_vectors", lambda vectors, **_: vectors * np.float32(2))
        build(tmp_path / "index", 1)
    with pytest.raises(ArtefactError, match="stored vectors must have unit length"):
        Index.open(tmp_path / "index").verify()


def test_an_id_that_is_alive_twice_is_found_by_verify(tmp_path, monkeypatch):
    index = build(tmp_path / "index", 1)
    monkeypatch.setattr("signwave.index.changes.SMALL_ROWS", 0)
    monkeypatch.setattr("signwave.index.snapshot.Snapshot.find", lambda self, ids: np.full(len(ids), -1))
    index.add(vectors_of(2, 1), ["clip7"], [{}], tokens=[np.ones((1, 4))])
    with pytest.raises(ArtefactError, match="1 ids are there twice"):
        index.verify()
