"""The types that travel, the ports between stages, and the errors."""
