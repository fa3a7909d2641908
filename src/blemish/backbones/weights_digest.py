"""SHA-256 of the embedded weights; written by training/export.py."""

SHA256 = "4f813d66fd6292eebfce3b5855557cc56c7bf3a1af1822870fdc7958c0fadc56"
