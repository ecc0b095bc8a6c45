"""Flax networks, one file each; import them from their files."""
