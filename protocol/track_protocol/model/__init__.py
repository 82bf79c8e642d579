"""The stored objects: entities, their plain documents, values, series and statistics."""
