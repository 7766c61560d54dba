"""An index survives kill -9, a full disk, a second writer and damaged files: whole, or it names the bad file."""

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
from signwave.index import Index, store
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


# Imports once, then forks a writer on each line it reads and prints its process id; writers publish for ever.
FORKING_WRITER = f"""
import os, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import test_index_durability as t
import faiss
for line in sys.stdin:
    step = int(line)
    child = os.fork()
    if child == 0:
        os.close(1)
        while True:
            t.build(sys.argv[1], step)
            step += 1
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


def kill_writers(folder, num_kills, seed=0):
    """Start and kill writers; returns the step found after each kill."""
    rng, steps = random.Random(seed), [step_of(build(folder, 0))]
    begin = time.monotonic()
    build(folder, 0)
    seconds_per_build = time.monotonic() - begin
    command = [sys.executable, "-c", FORKING_WRITER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        for _ in range(num_kills):
            writer.stdin.write(f"{steps[-1] + 1}\n")
            writer.stdin.flush()
            child = int(writer.stdout.readline())
            time.sleep(rng.uniform(0, 5 * seconds_per_build))
            os.kill(child, signal.SIGKILL)
            assert writer.stdout.readline() == "dead\n"
            index = Index.open(folder)
            index.verify()
            steps.append(step_of(index))
            if len(steps) > 3 and steps[-1] == steps[-4]:  # three in a row published nothing: the machine got busier
                seconds_per_build *= 1.5
        writer.stdin.close()
    return steps


def test_killed_writers_leave_a_whole_index(tmp_path):
    steps = kill_writers(tmp_path / "index", 30)
    assert steps == sorted(steps)
    assert steps[-1] > 3  # the writers did publish
    build(tmp_path / "index", 1000)  # sweeps what the killed ones left
    left = sorted(path.name for path in (tmp_path / "index").rglob("*") if ".tmp-" in path.name)
    assert left == []
    assert len(list((tmp_path / "index/generations").iterdir())) == 2


def test_readers_see_whole_generations_while_a_writer_publishes(tmp_path):
    """Two generations are kept and a reader that loses the race reads again."""
    build(tmp_path / "index", 0)
    command = [sys.executable, "-c", FORKING_WRITER, str(tmp_path / "index")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        writer.stdin.write("1\n")
        writer.stdin.flush()
        child = int(writer.stdout.readline())
        seen = [step_of(Index.open(tmp_path / "index")) for _ in range(60)]
        while Index.open(tmp_path / "index").info()["generation"] < 4:
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        writer.stdin.close()
    assert seen == sorted(seen)


@pytest.mark.slow
def test_killed_writers_many_times(tmp_path):
    steps = kill_writers(tmp_path / "index", 400, seed=1)
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
        assert not list(folder.glob("generations/.tmp-*"))
        if succeeded:
            break
    assert succeeded
    assert last == fail_at


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
    """Every file that a reader reads, by name."""
    generation = folder / "generations" / (folder / "CURRENT").read_text().split()[0]
    return {path.name: path for path in [folder / "CURRENT", *generation.iterdir()]}


@pytest.mark.parametrize("kind", ["flat", "ivf_sq8"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_damaged_files_are_refused_by_name(tmp_path, monkeypatch, kind, damage):
    monkeypatch.setattr("signwave.index.contents._MIN_ROWS_APPROXIMATE", 1)
    build(tmp_path / "index", 1, kind=kind)
    files = files_of(tmp_path / "index")
    assert len(files) == (7 if kind == "ivf_sq8" else 6)
    for name, path in files.items():
        good = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            bad = good[: len(good) // 2] if damage == "truncated" else flip(good, len(good) // 2, 3)
            path.write_bytes(bad)
        with pytest.raises(ArtefactError, match=name):
            Index.open(tmp_path / "index")
        path.write_bytes(good)
    assert step_of(Index.open(tmp_path / "index")) == 1


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


FORGED = f"""
import random, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, resource.RLIM_INFINITY))
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import test_index_durability as t
from pathlib import Path
from signwave.index import engine
rng, refused = random.Random(0), 0
for kind in engine.KINDS:
    path = Path(sys.argv[1]) / kind
    engine.write(engine.create(t.vectors_of(0, 300), kind=kind), path)
    good = path.read_bytes()
    for _ in range(70):
        path.write_bytes(t.mutated(good, rng))
        try:
            engine.read(path, kind=kind, count=300, dim=8)
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

    engine.write(engine.create(vectors_of(0), kind="flat"), tmp_path / "file")
    data = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(b"IxRo" + data[4:])
    with pytest.raises(ArtefactError, match="starts with b'IxRo', which is no 'flat' index"):
        engine.read(tmp_path / "file", kind="flat", count=NUM_ROWS, dim=8)


def test_a_manifest_can_name_no_file_elsewhere(tmp_path):
    import hashlib
    import json

    build(tmp_path / "index", 1)
    files = files_of(tmp_path / "index")
    manifest = json.loads(files["MANIFEST.json"].read_text())
    manifest["files"]["../../../secret"] = {"bytes": 1, "sha256": "0" * 64}
    data = json.dumps(manifest).encode()
    files["MANIFEST.json"].write_bytes(data)
    files["CURRENT"].write_text(f"000001 {hashlib.sha256(data).hexdigest()}\n")
    with pytest.raises(ArtefactError, match=r"lists the file '\.\./\.\./\.\./secret', which no index has"):
        Index.open(tmp_path / "index")


def test_vectors_written_wrong_are_found_by_verify(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("signwave.index.contents.check_vectors", lambda vectors, **_: vectors * np.float32(2))
        build(tmp_path / "index", 1)
    with pytest.raises(ArtefactError, match="stored vectors must have unit length"):
        store.Index.open(tmp_path / "index").verify()
