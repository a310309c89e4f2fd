"""`kcl-app soak`: the real pipeline under load while all that can fail does, and a check of what the tables hold after.

load → sender → ledger (what the stream accepted, on disk)          verifier: ledger → clean pass = tables?
                  │                                                                    ▲
local cloud ◀─────┘◀── proxy (throttles, delays, loses answers) ◀── workers ◀── chaos  │
    └──────────────────────────────────────────────────────────────────────────────────┘
"""
