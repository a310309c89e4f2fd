"""The batch engine: from records to durable spans, and what reads and checks them."""
