"""Fixtures of every test: one torch thread, the shared sample data where it lies beside the checkout."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two busy cores run a suite faster with one thread per process than with threads that wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        if os.environ.get("REQUIRE_GPU") == "1":
            pytest.fail("REQUIRE_GPU=1, but torch sees no GPU")
        pytest.skip("needs a CUDA GPU")


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """A command's -q or -v sets the level of the whole process; the next test starts as if none had run."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real sample files kept beside the checkout (never inside it)."""
    folder = Path(os.environ.get("SIGNWAVE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no sample data at {folder}; set SIGNWAVE_SHARED_DATA")
    return folder
