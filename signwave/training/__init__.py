"""Training glue around Lightning: data stream, checkpoints, guards, meters, the CTC module."""
