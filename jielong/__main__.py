"""`python -m jielong` is `jielong`."""

from jielong.cli.main import run

if __name__ == "__main__":
    run()
