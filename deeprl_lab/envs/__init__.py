"""Worlds of the lab: small problems whose optima are known exactly."""
