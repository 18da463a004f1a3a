"""From a command line to a run: flags, their checks, and how a script fails. Nothing below knows `argparse`."""
