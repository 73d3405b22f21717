"""Fine-tuned experts: a trained head over hashed n-grams, or a tuned model behind an endpoint."""
