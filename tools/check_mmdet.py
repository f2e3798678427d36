#!/usr/bin/env python
"""Try the configs that mmdet ships with a ShuffleNet put in: `shufflenet-det check-mmdet`."""

import sys

from shufflenet_det.cli import run_tool

sys.exit(run_tool("check_mmdet"))
