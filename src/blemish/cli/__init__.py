"""The command line, one module per command group. Modules are imported by name, because help must not load PyTorch."""

__all__: list[str] = []
