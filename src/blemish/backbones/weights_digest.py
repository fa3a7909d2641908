"""SHA-256 of the embedded weights; written by training/export.py."""

SHA256 = "79116c1f8701b57ef5d4b02314bd3e707a816a09053c7be5f35cc94f1b5196c8"
