"""Made-up inputs for tests: nothing here is used by a command or a recipe."""
