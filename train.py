"""Train an agent: `python train.py agent=... env=... key=value ...`. `python train.py --help` shows the menu."""

from deeprl.system.signals import leave_at_signals

if __name__ == "__main__":
    leave_at_signals()  # before the imports, which take seconds
    from deeprl.cli.train import main

    main()
