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

# The colours follow the reader's light or dark scheme, as in docs/images/overview.svg.
STYLE = """<style>
  .paper { fill: #ffffff } text { fill: #1f2328 } .stock { fill: #8c959f } .plugin { fill: #1a7f37 } .one { stroke: #cf222e }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } text { fill: #e6edf3 } .stock { fill: #6e7681 } .plugin { fill: #3fb950 } .one { stroke: #ff7b72 }
  }
</style>
"""
BAR = ('<text x="{left}" y="{text_y}" text-anchor="end">{label}</text>'
       '<rect x="{x}" y="{y}" width="{width}" height="18" rx="3" class="{kind}"/>'
       '<text x="{end}" y="{text_y}">{ratio}</text>\n')


def chart(title, results):
    left, scale, step = 380, 320, 28
    longest = max(result.ratio for result in results)
    height = 50 + step * len(results)
    out = ('<!-- SPDX-License-Identifier: ISC -->\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {h}" font-family="sans-serif" '
           'font-size="13" role="img">\n<title>{t}</title>\n{style}'
           '<rect width="820" height="{h}" class="paper"/>\n<text x="12" y="24" font-size="15" font-weight="bold">{t}</text>\n'
           .format(h=height, t=escape(title), style=STYLE))
    unit = scale / max(1.0, longest)
    for index, result in enumerate(results):
        y = 40 + step * index
        width = max(1.0, unit * result.ratio)
        kind = "stock" if result.must is None and result.ratio == 1 else "plugin"
        out += BAR.format(left=left - 8, text_y=y + 14, label=escape("%s: %s" % (result.row, result.what))[:70], x=left, y=y,
                          width=round(width, 1), kind=kind, end=round(left + width + 6, 1), ratio="%.2f" % result.ratio)
    one = left + unit
    return out + '<line x1="{x}" x2="{x}" y1="34" y2="{y}" class="one" stroke-dasharray="4 3"/>\n</svg>\n'.format(
        x=round(one, 1), y=height - 8)


def escape(value):
    return value.replace("&", "&amp;").replace("<", "&lt;")


CHARTS = [
    ("connect.svg", "CPU of a connect, Mosquitto alone = 1", ("connect ", "app", "refused")),
    ("others.svg", "CPU of an mTLS connect, Mosquitto alone = 1", ("NATS", "RabbitMQ")),
    ("messages.svg", "CPU of a message, Mosquitto alone = 1", ("QoS 0", "fan-out", "dynamic-security")),
    ("storm.svg", "New devices a second, what is possible = 1", ("storm", "registration")),
]


# README shows a few of the ratios: (its words, row and line of RESULTS.md).

README_HEAD = "<!-- figures of bench/RESULTS.md: scripts/bench writes them -->\n"
README_END = "<!-- end of figures -->\n"
README_LINES = [
    ("an mTLS connect, TLS 1.3", "connect host TLS 1.3", "with the plugin, full handshake"),
    ("the same, resumed", "connect host TLS 1.3", "with the plugin, resumed"),
    ("an app's connect with a known token (Mosquitto: a password)", "app", "token that was seen before"),
    ("a QoS 0 message, 20 rules in the role", "QoS 0 flood, one topic", "with the plugin, 20 rules"),
    ("a QoS 0 message, 100,000 rules", "QoS 0 flood, one topic", "with the plugin, 100,000 rules"),
    ("the same, alternating between 200 topics", "QoS 0 flood, 200 topics", "with the plugin, 100,000 rules"),
]


def ratios(results):
    """{(row, line): ratio and quartiles} of the text of RESULTS.md."""
    found, row = {}, None
    for words in results.splitlines():
        cells = [cell.strip() for cell in words.strip("|").split(" | ")]
        if words.startswith("## "):
            row = words[3:]
        elif row and words.startswith("| ") and len(cells) >= 3:
            found[row, cells[0].lstrip("| ")] = cells[2].replace("*", "")
    return found


def readme(results):
    """The figures of README, with their charts."""
    known = ratios(results)
    out = README_HEAD + "| | of stock Mosquitto (quartiles) |\n| --- | --- |\n"
    for words, row, what in README_LINES:
        if (row, what) in known:  # a row can fail
            out += "| %s | %s |\n" % (words, known[row, what])
    return out + "\n" + "\n".join("![%s](bench/%s)" % (title, name) for name, title, _ in CHARTS[:1]) + "\n" + README_END


def write_readme(path, results):
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(README_HEAD)
    path.write_text(before + readme(results) + rest.partition(README_END)[2], encoding="utf-8")


def write(folder, results, versions, rows):
    folder = pathlib.Path(folder)
    (folder / "RESULTS.md").write_text(text(results, versions, rows), encoding="utf-8")
    for name, title, prefixes in CHARTS:
        chosen = [r for r in results if r.row.startswith(prefixes) and r.ratio is not None]
        if chosen:
            (folder / name).write_text(chart(title, chosen), encoding="utf-8")
    if not rows and folder.resolve() == pathlib.Path(__file__).resolve().parent:
        write_readme(folder.parent / "README.md", text(results, versions, rows))
