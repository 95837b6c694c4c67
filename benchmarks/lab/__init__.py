"""Claims of the lab's papers, measured: `python -m benchmarks.lab NAME`."""
