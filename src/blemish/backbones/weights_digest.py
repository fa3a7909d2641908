"""SHA-256 of the embedded weights; written by training/export.py."""

SHA256 = "47c02387e5c13eafc7a5ea3b5b362310d4723b29d9767122c43289b5de046a51"
