"""A prepared cohort on disk: manifest, shards, splits, checks."""
