"""Pictures and videos from bytes: header probes, still decoding, growing uploads, video in and out."""
