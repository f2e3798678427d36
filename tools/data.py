#!/usr/bin/env python
"""``shufflenet-det data``."""

import sys

from shufflenet_det.cli import run_tool

sys.exit(run_tool("data"))
