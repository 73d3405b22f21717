"""Models of OpenAI-compatible servers. The only package that imports `openai`."""
