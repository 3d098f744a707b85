// What all charts share: Plotly with the page's fonts and colours, and no words of the data taken for markup.

const config = {
  responsive: true,
  displaylogo: false,
  // Plotly 4 has a button that uploads a chart to its makers; what is drawn here stays here.
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d", "resetScale2d"],
  // Going back to the whole is the page's own: Plotly would go back to the part that was drawn last.
  doubleClick: false,
};

const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Plotly reads some tags in text; names from a file must not be tags. */
export const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** A layout with axes titled `x` and `y`; `more` is laid over it. */
export function layout(x, y, more = {}) {
  const narrow = window.innerWidth < 600;
  const axis = (title) => ({
    title: { text: title, font: { size: 12 }, standoff: 6 },
    gridcolor: variable("--grid"), linecolor: variable("--line"), zerolinecolor: variable("--line"),
    tickfont: { size: 11 },
  });
  return {
    // The same for all, so that the same moment is at the same place in each.
    margin: { l: narrow ? 62 : 84, r: 16, t: 6, b: 74 },
    paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: variable("--text") },
    hoverlabel: { bgcolor: variable("--card"), bordercolor: variable("--line"), font: { color: variable("--text"), size: 12 } },
    legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", font: { size: 11.5 }, itemsizing: "constant" },
    modebar: { bgcolor: "transparent", color: variable("--quiet"), activecolor: variable("--accent") },
    hovermode: "closest", dragmode: "zoom", showlegend: true,
    ...more,
    xaxis: { ...axis(x), ...more.xaxis },
    yaxis: { ...axis(y), ...more.yaxis },
  };
}

/** Draws, or draws again what has changed. */
export const draw = (place, { traces, layout }) => window.Plotly.react(place, traces, layout, config);

/** Lets go of a chart whose place is about to vanish. */
export const forget = (place) => window.Plotly.purge(place);
