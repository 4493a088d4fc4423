"""An HTTP server for one model: OpenAI-compatible, with a page to try it on."""
