"""What holds explanations, and models by them, to account."""
