"""Bodies of requests and replies: how each platform and content type writes texts, predictions and errors."""
