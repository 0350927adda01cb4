"""Probes: what a machine (or a copy of its /sys and /proc) says about itself. Files are read, nothing is run or changed."""
