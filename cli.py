"""The command line without installing: ``python cli.py conformers CCO -n 5``."""

from scoregen.cli import main

main()
