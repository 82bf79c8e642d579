"""What stores in SQL databases have in common: reading, rows, and what background work does to chunks."""
