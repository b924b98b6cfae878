"""`python -m eventmill.cli`: the same as `eventmill`."""

from eventmill.cli.main import main

main()
