"""`python -m hwbench` is the command `hwbench`."""

from hwbench.cli.main import main

if __name__ == "__main__":
    main()
