"""Evidence: the camera farm and the scenarios behind every figure that Sightline claims."""
