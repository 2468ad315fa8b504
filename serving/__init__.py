"""Everything after the push: version ledger, atomic versions, model server, client."""
