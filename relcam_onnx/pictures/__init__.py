"""Pictures in: read, laid out, made into the array that the model takes; the names of its classes."""
