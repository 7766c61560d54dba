"""Pictures of results: each a pure function from what a result file holds to a matplotlib figure."""
