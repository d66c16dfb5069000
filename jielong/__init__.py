"""Jielong (接龍): everything a generative model makes is a chain of units.

Importing this package imports nothing heavy; take what you need from its rooms, for example
``from jielong.world.world import World``. The map of the rooms is in ``docs/map.md``.
"""

__version__ = "0.1.0"
