"""One file an output format: each exports REPORT, takes a Summary and makes text of it; nothing here computes a figure."""
