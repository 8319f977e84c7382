"""Weight sources: bank, router, crop; and architectures that are distributions."""
