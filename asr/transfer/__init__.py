"""A head for a new vocabulary without training it: rows copied and composed, or solved from alignments."""
