"""How a run goes: its configuration, its folder, its loop, and where it computes."""
