"""HTTP: what each route answers, content negotiation, OpenAPI."""
