"""The HTTP application: REST, GraphQL, metrics and the page at ``/``, over the engine and the traffic log."""
