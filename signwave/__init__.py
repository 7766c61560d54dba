"""The shared core of Signwave: what sign-language and speech work both need, and nothing that knows either.

Letters in every shape legend: B items, T video or feature frames (or model steps), S audio samples, N tokens,
V vocabulary, D features, K neighbours, J joints, H W pixels, Q queries, G gallery.
"""

__version__ = "0.1.0"
