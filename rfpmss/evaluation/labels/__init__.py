"""Few labels: probes, tuning and the baselines they are compared with."""
