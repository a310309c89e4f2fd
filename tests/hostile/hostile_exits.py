"""Ends the process that imports it, if it can."""

import sys

print('{"action":"status","responseFor":"initialize"}')
sys.exit(3)
