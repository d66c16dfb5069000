"""Functions with few parameters, attached to a model that stays as it is. See `attach.py`."""
