"""SHA-256 of the embedded weights; written by training/export.py."""

SHA256 = "935bc9898bca2d17fc8f44089973ccbf9b35ecd6fb71c39c0e1825e655d0ca36"
