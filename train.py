"""Train an agent: `python train.py agent=... env=... key=value ...`. `python train.py --help` shows the menu."""

from deeprl.cli.train import main

if __name__ == "__main__":
    main()
