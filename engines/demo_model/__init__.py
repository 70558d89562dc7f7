"""Makes the demo model: draws its data, trains, evaluates and exports; runs in the export environment only."""
