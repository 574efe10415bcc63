"""`inspect`: what a store holds, by its ledger."""
