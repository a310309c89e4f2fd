"""For tests: a fake MultiLangDaemon that feeds the real record processor, and plays everything that can go wrong.

    turns         runs several processes as threads that take turns, decided by a seed
    clocks        virtual time, and clocks that jump
    faults        a store in memory on which everything that can go wrong with DynamoDB does
    slips         the engine itself fails half-way
    small_rows    rows that items can be too large for
    stream        shards, their records, leases and checkpoints
    conversation  the daemon's side of one child's pipe, strictly by the protocol
    simulation    workers, zombies and the horizon job on one stream, with faults, by a seed
    checks        what must hold at every checkpoint and in the end
    daemon        `FakeDaemon`: what a plugin's author sends events to
    plugin        the pytest plugin with the fixture `fake_daemon`

Nothing here is imported by the worker.
"""
