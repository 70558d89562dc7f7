"""Decisions as pure functions of what is known; clocks and loops live in the shells that call them."""
