"""HTTP: the handler of each route, content negotiation, OpenAPI."""
