"""HTTP: routes over a frame path; knows nothing of Ray."""
