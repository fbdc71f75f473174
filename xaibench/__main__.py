"""`python -m xaibench` is the command `xaibench`."""

from xaibench.cli import main

main()
