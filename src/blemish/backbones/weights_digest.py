"""SHA-256 of the embedded weights; written by training/export.py."""

SHA256 = "3c465befb3f5dbc8bc96dda57ff0b15b974d53697e9b446fdc6de620cef8c976"
