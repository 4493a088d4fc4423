"""Soak: what a server and a fetch take over time, and whether anything goes wrong meanwhile."""
