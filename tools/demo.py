#!/usr/bin/env python
"""``shufflenet-det predict`` with mmdet's order of arguments."""

import sys

from shufflenet_det.cli import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("_demo"))
