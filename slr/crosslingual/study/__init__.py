"""The study that asks whether auxiliary corpora help: all stages, the controls, and what came out."""
