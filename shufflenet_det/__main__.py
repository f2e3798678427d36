"""``python -m shufflenet_det``: what is installed; with arguments: ``shufflenet-det``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["env"]))
