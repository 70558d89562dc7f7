"""Pure functions on arrays: onto the model's canvas, back from it, and everything between rows and objects."""
