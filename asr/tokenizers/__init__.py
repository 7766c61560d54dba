"""Tokenizers for CTC: characters, pieces inside words, pieces inside morphs; measured, chosen, saved as one file."""

from asr.tokenizers.tokenizer import KINDS, Tokenizer
from asr.tokenizers.training import PAPER, Recipe, train

__all__ = ["KINDS", "PAPER", "Recipe", "Tokenizer", "train"]
