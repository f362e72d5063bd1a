"""Train and evaluate a model.

python run_recbole_precise.py --model=PRECISE-UT --dataset=ml-100k [--key=value ...]
"""

import sys

from recbole_precise.cli import main

if __name__ == "__main__":
    sys.exit(main())
