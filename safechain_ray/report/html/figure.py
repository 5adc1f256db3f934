"""A plot as a page shows it: its title and caption, the buttons that save it, and its picture at two widths."""

from safechain_ray.report.html.elements import Markup, element
from safechain_ray.report.plots.svg import Plot


def figure(plot: Plot) -> Markup:
    """`plot` with its buttons, which the page's script finds by their `data-save`; report.css shows one width."""
    save = [
        element(
            "button", kind.upper(), type="button", data_save=kind, aria_label=f"Save {plot.title} as {kind.upper()}"
        )
        for kind in ("svg", "png")
    ]
    caption = element(
        "figcaption",
        element("h3", plot.title),
        element("p", plot.caption),
        element("div", save, class_="save"),
    )
    pictures = (Markup(plot.wide), Markup(plot.narrow))
    drawing = element("div", pictures, class_="drawing", tabindex=0, role="region", aria_label=plot.title)
    return element("figure", caption, drawing, id=f"plot-{plot.key}", data_name=plot.key)
