"""Methods that ask the model again and again: of altered pictures, of altered activations, or of many gradients."""
