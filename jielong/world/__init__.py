"""What is true: people, places, sums, rules, and the oracles that know the answers."""

from jielong.world.text import Chat, Message, Origin, Question, Text
from jielong.world.world import World

__all__ = ["Chat", "Message", "Origin", "Question", "Text", "World"]
