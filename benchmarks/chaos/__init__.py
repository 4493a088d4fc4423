"""Commands of grokdist under random faults, and killed at every step they take on the disk."""
