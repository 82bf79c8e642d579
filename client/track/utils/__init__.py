"""What the client's modules share with programs that look for it here."""
