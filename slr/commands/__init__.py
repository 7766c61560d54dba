"""The commands, one file each: thin, no logic."""
