"""The user's tables: where they lie, how they are read, what is in them."""
