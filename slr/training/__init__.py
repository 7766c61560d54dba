"""From prepared clips to a trained recogniser."""
