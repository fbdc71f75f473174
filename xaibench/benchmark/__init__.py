"""How fast it is here, as ratios measured in one run: `xaibench bench`."""
