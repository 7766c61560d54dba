"""Functions of the user that judge a segment: which language is spoken, whether there is music or a second voice.

A hook is named `module:function` and called as `function(samples, rate_hz)` with (S,) float32 samples in [-1, 1]; it
returns numbers by name. A language identifier returns a posterior per language code; a detector of sound kinds returns
`music` and `overlap`, each in [0, 1], and may return more, which is kept.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError

Hook = Callable[[NDArray[np.float32], int], Mapping[str, float]]


@lru_cache(maxsize=8)
def load_hook(name: str) -> Hook:
    """Import a hook, once per process.

    Args:
        name: `module:function`.

    Raises:
        UserError: it is not of that form, or there is no such function.
    """
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise UserError(f"hook '{name}': expected module:function, such as my_models.language:identify")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(
            f"hook '{name}': the module can't be imported ({error}); install it or set PYTHONPATH"
        ) from error
    found = getattr(module, function_name, None)
    if not callable(found):
        raise UserError(f"hook '{name}': {module_name} has no function {function_name}")
    hook: Hook = found
    return hook


def call_hook(name: str, samples: NDArray[np.float32], rate_hz: int) -> dict[str, float]:
    """Judge a segment.

    Returns:
        finite numbers by name, rounded to four decimals.

    Raises:
        UserError: the hook failed, or returned something else.
    """
    try:
        answer = load_hook(name)(samples, rate_hz)
    except UserError:
        raise
    except Exception as error:  # code of the user's: whatever it raises costs one file
        raise UserError(f"hook '{name}' failed: {type(error).__name__}: {error}") from error
    try:
        numbers = {str(key): round(float(value), 4) for key, value in answer.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"hook '{name}' must return numbers by name, got {answer!r}") from error
    if not all(math.isfinite(value) for value in numbers.values()):
        raise UserError(f"hook '{name}' must return finite numbers, got {numbers}")
    return numbers
