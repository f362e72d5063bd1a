"""`python -m recbole_precise` is the command `recbole-precise`."""

import sys

from recbole_precise.cli import main

if __name__ == "__main__":
    sys.exit(main())
