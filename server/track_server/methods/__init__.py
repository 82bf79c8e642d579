"""What each method of the contract does, on any store."""
