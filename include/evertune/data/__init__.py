"""From sources to a dataset: snapshot, validation, preparation, and the versions of all three."""
