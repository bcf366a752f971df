"""Layer-wise relevance propagation: presets, the plan, the walk, seeds, methods and maps."""
