"""What is stored: entities, their plain documents, values, series and statistics."""
