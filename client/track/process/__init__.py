"""What the process of a training does: fork, exit, signals, progress."""
