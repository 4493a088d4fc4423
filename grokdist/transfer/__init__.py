"""Plan, fetch, store and verify the files of a model."""
