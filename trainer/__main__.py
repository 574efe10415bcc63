"""`python -m trainer`."""

import sys

if __name__ == "__main__":
    try:  # imports take a while, in which Ctrl-C may come
        from heteroshards.trainer.cli import main

        main(prog_name="python -m trainer")
    except KeyboardInterrupt:
        sys.exit(130)
