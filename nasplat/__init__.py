"""nasplat: neural architecture search and metanetworks."""
