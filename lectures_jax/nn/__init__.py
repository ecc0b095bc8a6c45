"""Flax blocks smaller than a network; import them from their files."""
