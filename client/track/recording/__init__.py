"""Parts of a run: captured output, parameters, sources, and how it resumes."""
