"""Frozen encoders and the cache of what they see."""
