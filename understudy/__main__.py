"""The command `understudy`."""

from understudy.cli.app import run


def main() -> None:
    """Run the command line and exit with its code."""
    run()


if __name__ == "__main__":
    main()
