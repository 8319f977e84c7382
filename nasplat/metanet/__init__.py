"""Networks over parameter graphs."""
