"""Text ↔ sign video: training, index, search."""
