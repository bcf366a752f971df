"""Which networks are explained, and how far: every case exported or loaded with seeded weights, and checked."""
