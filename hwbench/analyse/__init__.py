"""From records to figures: statistics, roofline, scaling, comparisons, change points, calibration. Pure functions."""
