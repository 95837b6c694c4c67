"""Run folders mutated as chance and as strangers would, and read by the commands."""
