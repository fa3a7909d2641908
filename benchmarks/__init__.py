"""One command per table: each measures, prints its table and, with ``--write``, keeps it for ``docs/benchmarks.md``."""
