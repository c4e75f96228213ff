"""Networks, one per file: `Network(channels=, size=(H, W), classes=, **options)`."""
