"""What a trained model makes: samples, continuations, reconstructions, interpolations and traverses."""
