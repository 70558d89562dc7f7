"""LitServe with its batching, as its documentation writes a server. `litserve_server.py MODEL PORT`."""

import sys

import litserve as ls
from fastapi import Request, Response
from plain import Model, to_json


class Detect(ls.LitAPI):
    """One API whose worker holds the model."""

    def setup(self, device):
        """Load the model in the worker."""
        self.model = Model(sys.argv[1], streams=2)

    def decode_request(self, request: Request):
        """The uploaded file: a raw body is read as JSON, whatever its type."""
        return request["image"].file.read()

    def batch(self, inputs):
        """Keep the bodies as a list."""
        return list(inputs)

    def predict(self, bodies):
        """Detect on the whole batch."""
        return self.model.detect(bodies)

    def unbatch(self, output):
        """One answer for each."""
        return output

    def encode_response(self, output):
        """JSON."""
        return Response(to_json(output), media_type="application/json")


if __name__ == "__main__":
    api = Detect(max_batch_size=8, batch_timeout=0.005)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False)
