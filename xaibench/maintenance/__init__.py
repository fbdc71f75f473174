"""Looking after an installation: whether it is in order, and what it keeps on the disk."""
