"""The stages as asyncio shells, and the path of one frame through them."""
