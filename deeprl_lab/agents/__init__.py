"""Agents of the lab: tabular and linear, one paper a file."""
