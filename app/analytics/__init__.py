"""What the tracks did: lines that they crossed, zones that they stayed in, counted in true time."""
