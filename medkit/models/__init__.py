"""Model families: one package each, none imports another."""
