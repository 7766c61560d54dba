"""Signs of one corpus found in the windows of another: pseudo-labels for a domain-aware encoder, and its fusion."""
