"""SHA-256 of the embedded weights; written by training/export.py."""

SHA256 = "ea73628723dbbf7a88ec13e5fa4b9290d7b4586d29cd83ea2af5c680440fe07b"
