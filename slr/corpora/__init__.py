"""What `slr prepare` and `slr audit` do with the rows of a corpus."""
