# SPDX-License-Identifier: ISC
"""bench/RESULTS.md and the charts that README shows."""

import os
import pathlib
import platform
import time

HEAD = """<!-- SPDX-License-Identifier: ISC -->
# Results

Written by `scripts/bench`{rows}, which anybody can run. Each ratio is the median over rounds in which the variants took turns,
with the quartiles beside it; CPU is that of all threads of the broker. The log says errors only, with and without the plugin.
*Must* is what the project requires of the ratio, or of the value where there is nothing to compare with; a figure in bold
does not reach it.

{machine}
"""

ROW = "| {what} | {value} | {ratio} | {must} |\n"


def machine(versions):
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    cpu = "%d × %s" % (len(models), models[0]) if models else platform.machine()
    return "\n".join("- " + line for line in (time.strftime("%Y-%m-%d"), cpu, "Linux " + platform.release(), *versions,
                                              "load of the machine at the end: %.1f" % os.getloadavg()[0]))


def number(value):
    return "%d" % round(value) if abs(value) >= 100 else "%.3g" % value


def reaches(result):
    if result.must is None:
        return True
    measured = result.value if result.ratio is None else result.ratio
    return measured >= -result.must if result.must < 0 else measured <= result.must


def line(result):
    ratio = "" if result.ratio is None else "%.2f" % result.ratio
    if result.spread and result.ratio != 1:
        ratio += " (%.2f to %.2f)" % result.spread
    value = "%s %s" % (number(result.value), result.unit)
    if not reaches(result):
        ratio, value = ("**%s**" % ratio, value) if ratio else (ratio, "**%s**" % value)
    must = "" if result.must is None else "%s %s" % ("≥" if result.must < 0 else "≤", number(abs(result.must)))
    return ROW.format(what=result.what, value=value, ratio=ratio, must=must)


def text(results, versions, rows):
    out = HEAD.format(rows=" " + " ".join(rows) if rows else "", machine=machine(versions))
    last = None
    for result in results:
        if result.row != last:
            out += "\n## %s\n\n| | value | ratio | must |\n| --- | --- | --- | --- |\n" % result.row
            last = result.row
        out += line(result)
    return out


# Charts: bars of the ratios of one kind, with a line at 1.

BAR = ('<text x="{left}" y="{text_y}" text-anchor="end">{label}</text>'
       '<rect x="{x}" y="{y}" width="{width}" height="18" rx="3" fill="{colour}"/>'
       '<text x="{end}" y="{text_y}">{ratio}</text>\n')


def chart(title, results):
    left, scale, step = 380, 320, 28
    longest = max(result.ratio for result in results)
    height = 50 + step * len(results)
    out = ('<!-- SPDX-License-Identifier: ISC -->\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {h}" font-family="sans-serif" font-size="13">\n'
           '<rect width="820" height="{h}" fill="#fff"/>\n<text x="12" y="24" font-size="15" font-weight="bold">{t}</text>\n'
           .format(h=height, t=escape(title)))
    unit = scale / max(1.0, longest)
    for index, result in enumerate(results):
        y = 40 + step * index
        width = max(1.0, unit * result.ratio)
        colour = "#999" if result.must is None and result.ratio == 1 else "#2b7a4b"
        out += BAR.format(left=left - 8, text_y=y + 14, label=escape("%s: %s" % (result.row, result.what))[:70], x=left, y=y,
                          width=round(width, 1), colour=colour, end=round(left + width + 6, 1), ratio="%.2f" % result.ratio)
    one = left + unit
    return out + '<line x1="{x}" x2="{x}" y1="34" y2="{y}" stroke="#c33" stroke-dasharray="4 3"/>\n</svg>\n'.format(
        x=round(one, 1), y=height - 8)


def escape(value):
    return value.replace("&", "&amp;").replace("<", "&lt;")


CHARTS = [
    ("connect.svg", "CPU of a connect, Mosquitto alone = 1", ("connect ", "app", "refused")),
    ("others.svg", "CPU of an mTLS connect, Mosquitto alone = 1", ("NATS", "RabbitMQ")),
    ("messages.svg", "CPU of a message, Mosquitto alone = 1", ("QoS 0", "fan-out", "dynamic-security")),
    ("storm.svg", "New devices a second, what is possible = 1", ("storm", "registration")),
]


def write(folder, results, versions, rows):
    folder = pathlib.Path(folder)
    (folder / "RESULTS.md").write_text(text(results, versions, rows), encoding="utf-8")
    for name, title, prefixes in CHARTS:
        chosen = [r for r in results if r.row.startswith(prefixes) and r.ratio is not None]
        if chosen:
            (folder / name).write_text(chart(title, chosen), encoding="utf-8")
