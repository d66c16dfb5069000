"""Models that act: tools, a sandbox for what they write, and the same tools over MCP."""
