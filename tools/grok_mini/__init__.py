"""Everything that made grok-mini: corpus, tokenizer, training, export and evaluation."""
