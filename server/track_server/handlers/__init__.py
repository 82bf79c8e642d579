"""What each call of the method table does to a store, by what it is about."""
