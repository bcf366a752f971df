"""What is measured: how well maps hit their object, and what an explanation costs. Not part of the package."""
