"""Curating a schema: differences, acceptance, lint."""
