"""A searchable index of vectors in one folder: FAISS behind a small interface that survives crashes."""

from signwave.index.hits import Hits, merge_hits
from signwave.index.interface import Between, TokenBlock, VectorIndex
from signwave.index.store import Index

__all__ = ["Between", "Hits", "Index", "TokenBlock", "VectorIndex", "merge_hits"]
