"""Tables, figures, pages and loggers."""
