"""What a condensed set is used for: one file for each use."""
