"""Tools around runs. No run needs them."""
