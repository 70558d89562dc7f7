"""What can go wrong on the camera farm."""


class BarcodeError(Exception):
    """The frame carries no barcode, or one whose checksum does not match."""
