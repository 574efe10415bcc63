"""`python -m heteroshards`, where the command is not on the path."""

import sys

if __name__ == "__main__":
    try:  # imports take a while, in which Ctrl-C may come
        from heteroshards.cli import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)
