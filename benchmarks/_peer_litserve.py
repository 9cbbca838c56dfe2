"""LitServe with the same model: batches as they come, as its documentation advises for throughput."""

from __future__ import annotations

import os
from typing import Any

import litserve

from _peer_model import PeerModel


class Classify(litserve.LitAPI):  # type: ignore[misc]
    """One text a request."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the model in the worker."""
        self.model = PeerModel()

    def decode_request(self, request):  # type: ignore[no-untyped-def] # an annotation makes it a query parameter
        """The request's text."""
        return str(request["text"])

    def predict(self, batch: Any) -> Any:
        """A list of texts where batches are on, else one."""
        return self.model(batch) if isinstance(batch, list) else self.model([batch])[0]

    def encode_response(self, output: Any) -> Any:
        """The answer as it is."""
        return output


if __name__ == "__main__":
    batch = int(os.environ.get("PEER_BATCH", "1"))
    waits = float(os.environ.get("PEER_WAIT_MS", "0")) / 1000
    server = litserve.LitServer(
        Classify(max_batch_size=batch, batch_timeout=waits),
        accelerator="cpu",
        workers_per_device=int(os.environ.get("PEER_WORKERS", "1")),
        fast_queue=os.environ.get("PEER_FAST_QUEUE") == "1",
    )
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False, log_level="warning")
