"""The environment layer: M copies of one environment, each ending its own episodes."""
