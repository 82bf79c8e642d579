"""The storage contract and what implements it."""
