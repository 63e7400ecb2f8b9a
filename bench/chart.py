# SPDX-License-Identifier: GPL-2.0-or-later
"""A bar chart of ratios as SVG."""
from xml.sax.saxutils import escape

LEFT, WIDTH, ROW, TOP = 390, 420, 34, 46


def bar(row, result):
    """Median as a bar, the spread as a line on it, the aim as a tick."""
    x = lambda ratio: LEFT + min(ratio, 1.1) / 1.1 * WIDTH
    y = TOP + row * ROW
    name = result.name + (f" / {result.baseline}" if result.baseline != "plain forwarding" else "")
    low, high = min(result.ratios), max(result.ratios)
    parts = [
        f'<text x="{LEFT - 10}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LEFT}" y="{y + 3}" width="{x(result.median) - LEFT:.1f}" height="18" '
        'fill="#4a7aa7"/>',
        f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y + 12}" y2="{y + 12}" stroke="#222" '
        'stroke-width="1.5"/>',
        f'<text x="{LEFT + WIDTH + 12}" y="{y + 16}">{result.median:.2f}</text>',
    ]
    if result.aim:
        parts.append(f'<line x1="{x(result.aim):.1f}" x2="{x(result.aim):.1f}" y1="{y - 1}" '
                     f'y2="{y + 25}" stroke="#c03030" stroke-width="2"/>')
    return "\n".join(parts)


def draw(results):
    height = TOP + len(results) * ROW + 40
    one = LEFT + WIDTH / 1.1
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 70}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="12" y="22" font-size="15">Share of the baseline (median, spread; red: aim)</text>',
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{TOP - 8}" y2="{height - 34}" stroke="#999" '
        'stroke-dasharray="4 3"/>',
        *(bar(row, result) for row, result in enumerate(results)),
        f'<text x="{one:.1f}" y="{height - 16}" text-anchor="middle">1.0: baseline</text>',
        "</svg>", ""])
