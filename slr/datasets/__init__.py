"""One file per corpus: the file name is the name that `slr prepare` takes."""
