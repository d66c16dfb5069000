"""The same tools over the Model Context Protocol: served to others, and taken from them. The extra `agents`."""
