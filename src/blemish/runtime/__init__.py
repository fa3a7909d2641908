"""Services that the stages share: cache, files, memory, threads, random draws, progress. Modules are imported by name."""
