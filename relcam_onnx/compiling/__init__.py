"""The reverse walk written into the model."""
