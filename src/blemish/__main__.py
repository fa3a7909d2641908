"""``python -m blemish``, and the entry point of the command ``blemish``."""

from __future__ import annotations


def main() -> None:
    """Run the command line. An interruption is one line, also while modules are still being imported."""
    try:
        from blemish.cli.app import main as command_line

        command_line()
    except KeyboardInterrupt:
        import sys

        print("blemish: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
