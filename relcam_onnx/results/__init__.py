"""What comes out: the explanation, overlays, and the folder that keeps them."""
