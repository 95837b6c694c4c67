"""A policy in one file."""
