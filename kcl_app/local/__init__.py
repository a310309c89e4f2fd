"""Everything on one machine: the local cloud, simulated traffic, the demo."""
