"""The board: what a browser asks of a store, over any of the stores' interfaces."""
