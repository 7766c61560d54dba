"""Several trainings that differ in one thing, compared."""
