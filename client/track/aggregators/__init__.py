"""How logged values read back."""
