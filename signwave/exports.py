"""Public names of a package that are imported when somebody asks for them."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package.

    Args:
        package: its name, for the message.
        homes: public name → the module that has it.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute {name!r}; it has {', '.join(homes)}")
        return getattr(importlib.import_module(homes[name]), name)

    return get
