"""``python -m shufflenet_det.cli``: the command where no script is on the path, as in torchrun."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
