//! The table as a picture: one bar for each ratio to the floor.

use crate::table::Table;
use std::fmt::Write;

const COLOURS: [(&str, &str); 4] =
    [("floor", "#999999"), ("runtime", "#d1495b"), ("crun", "#30638e"), ("runc", "#8fb8de")];
const LABEL: f64 = 240.0;
const SCALE: f64 = 26.0;
/// Longer bars are cut, and say so by their figure alone.
const LONGEST: f64 = 22.0;
const BAR: f64 = 12.0;

/// An SVG with a group of bars for each case.
pub fn svg(table: &Table) -> String {
    let mut body = String::new();
    let mut y = 34.0;
    let mut x = LABEL;
    for (name, colour) in COLOURS {
        let _ = write!(
            body,
            r#"<rect x="{x}" y="10" width="10" height="10" fill="{colour}"/><text x="{}" y="19">{name}</text>"#,
            x + 14.0
        );
        x += 90.0;
    }
    for (case, ratios) in table.ratios() {
        let _ = write!(body, r#"<text x="{}" y="{}" text-anchor="end">{case}</text>"#, LABEL - 8.0, y + 10.0);
        for (name, ratio) in ratios {
            let colour = COLOURS.iter().find(|(other, _)| *other == name).map_or("#000000", |(_, colour)| colour);
            let width = ratio.min(LONGEST) * SCALE;
            let _ = write!(
                body,
                r#"<rect x="{LABEL}" y="{y}" width="{width:.1}" height="{}" fill="{colour}"/><text x="{:.1}" y="{:.1}">{ratio:.2}</text>"#,
                BAR - 2.0,
                LABEL + width + 4.0,
                y + 9.0,
            );
            y += BAR;
        }
        y += 8.0;
    }
    let width = LABEL + LONGEST * SCALE + 60.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y}\" font-family=\"sans-serif\" font-size=\"11\">\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>{body}</svg>\n"
    )
}
