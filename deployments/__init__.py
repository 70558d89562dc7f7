"""The only Python that knows Ray: stages as Serve deployments, joined to one graph."""
