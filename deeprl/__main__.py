"""`python -m deeprl ...`: the console script, for where it is not on the path."""

from deeprl.cli.main import main

if __name__ == "__main__":
    main()
