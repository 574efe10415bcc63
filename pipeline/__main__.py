"""`python -m pipeline`."""

import sys

if __name__ == "__main__":
    try:  # imports take a while, in which Ctrl-C may come
        from heteroshards.pipeline.cli import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)
