#!/usr/bin/env python
from shufflenet_det.cli import run_tool

raise SystemExit(run_tool("check_dataset"))
