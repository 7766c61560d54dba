"""One file per model; each holds its config dataclass and its module."""
