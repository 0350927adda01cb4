"""Reference workloads, one file each; found by name through hwbench.core.registry."""
