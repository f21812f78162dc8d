"""The composition root: from a configuration to running objects; the only place that picks adapters."""
