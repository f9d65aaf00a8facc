"""Work for several ranks, in a module that a fresh interpreter can import."""


def tell_rank(shared, rank, report):
    report(rank)
    return shared, rank


def fail_as_second(_, rank, report):
    report(rank)
    if rank == 1:
        raise ValueError("rank 1")
