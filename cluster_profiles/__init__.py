"""Known clusters: one TOML file each, with a source for every number."""
