"""Files that a run leaves: written whole, verified, read back."""
