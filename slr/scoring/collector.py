"""The garbage collector, paused while millions of small objects are made that all stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause cyclic collection; also a decorator, `@paused_collector()`.

    Sentences and counts hold no cycles, but each full collection walks all of them: half the time of scoring a million.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
