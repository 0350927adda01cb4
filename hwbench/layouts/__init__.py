"""Parallel layouts: one file a way to split, with what it does to a module and what it sends."""
