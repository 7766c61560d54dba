"""What the readers of corpora share, and what is done with clips afterwards: splits, leaks, other manifest formats."""
