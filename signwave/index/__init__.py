"""A searchable index of vectors in one folder: FAISS behind a small interface that survives crashes."""

from signwave.index.hits import Hits, merge_hits
from signwave.index.store import Index

__all__ = ["Hits", "Index", "merge_hits"]
