"""``shufflenet-det benchmark``."""

import sys

from shufflenet_det.cli import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("benchmark"))
