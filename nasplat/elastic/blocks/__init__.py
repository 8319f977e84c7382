"""What families are made of: blocks, stages, and the options that build them."""
