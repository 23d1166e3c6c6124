"""``python -m kidasr``, the same as the command ``kidasr``; for ``torchrun -m kidasr``."""

from kidasr.cli.main import main

if __name__ == "__main__":
    main()
