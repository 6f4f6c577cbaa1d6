"""What a finished run says of sequences: their bounds, their latent variables, and how much these are used."""
