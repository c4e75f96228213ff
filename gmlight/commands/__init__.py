"""The commands' functions, one file each; they get a checked configuration."""
