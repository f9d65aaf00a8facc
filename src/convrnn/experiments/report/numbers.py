"""Numbers as printed in the tables."""

from decimal import ROUND_HALF_UP, Decimal


def percent(value: float) -> str:
    """Two decimals; halves are rounded away from zero, as in the paper's averages.

    Example:
        >>> percent(57.615), percent((70.04 + 70.15) / 2)
        ('57.62', '70.10')
    """
    # Errors in the last bits of a sum must not decide the rounding.
    return str(Decimal(f"{value:.9f}").quantize(Decimal("0.01"), ROUND_HALF_UP))


def signed(value: float) -> str:
    """A difference with its sign (a true minus sign), and without one if it rounds to 0.

    Example:
        >>> signed(0.5), signed(-1.234), signed(-0.001)
        ('+0.50', '−1.23', '0.00')
    """
    text = percent(abs(value))
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+") + text


def p_value(value: float) -> str:
    """A p-value as printed in tables.

    Example:
        >>> p_value(0.04321), p_value(0.0002), p_value(1.0), p_value(0.9999)
        ('0.043', '< 0.001', '1', '1')
    """
    if value < 0.001:
        return "< 0.001"
    return "1" if value >= 0.9995 else f"{value:.3f}"


def format_seconds(seconds: float) -> str:
    """A duration in readable form.

    Example:
        >>> format_seconds(4.32), format_seconds(250), format_seconds(7300)
        ('4.3 s', '4 min 10 s', '2 h 02 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
