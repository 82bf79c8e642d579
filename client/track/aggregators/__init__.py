"""How logged values are kept."""
