"""What is found in the canonical graph: paths, layers, scores, and what stands in the way."""
