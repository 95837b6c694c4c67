"""Without Optuna these tests are left out; the extra `test` brings it."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("optuna") else ["test_*.py"]
