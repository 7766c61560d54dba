"""Isolated signs of several languages: one trunk, one classifier for each language, seen in bags of short windows."""
