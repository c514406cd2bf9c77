"""Bodies of requests and responses: texts, predictions and errors in each platform's format and content type."""
