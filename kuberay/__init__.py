"""What Sightline knows of Kubernetes: manifests, and the tool that checks them."""
