"""`python -m mcp_server.cli`: the command line without its script."""

from mcp_server.cli import main

main()
