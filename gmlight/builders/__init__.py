"""From a composed configuration to objects."""
