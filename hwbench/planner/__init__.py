"""Predicting a step, its memory and its price from a workload's cost, a layout and a cluster profile: pure functions."""
