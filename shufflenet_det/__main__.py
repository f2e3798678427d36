"""``python -m shufflenet_det`` is ``shufflenet-det``; without arguments ``shufflenet-det env``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["env"]))
