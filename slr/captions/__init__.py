"""Captions of clips: put into manifests from tables, varied as queries are, and with words swapped for training."""
