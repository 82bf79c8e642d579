"""What a run knows of itself: captured output, parameters, sources, where it resumes."""
