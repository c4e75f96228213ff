"""One network a file. `Network(channels=, size=(H, W), classes=, **its own options)`."""
