"""One network a file. A network is built by `Network(channels=, size=(H, W), classes=, **its own options)`."""
