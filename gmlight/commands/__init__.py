"""What each command does, once its words are parsed and its configuration is checked; a file a command."""
