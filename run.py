"""Compose a config from conf/, instantiate its job and run it. See python run.py --help."""

from kidasr.cli.main import main

if __name__ == "__main__":
    main()
