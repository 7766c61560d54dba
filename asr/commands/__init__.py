"""Commands of `asr`, each in a file of its own; `asr.cli` hooks them up."""
