"""The event contract on the wire: JSON, JSON Schemas and protobuf, all from `proto/sightline/v1/vision.proto`."""
