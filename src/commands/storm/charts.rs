//! Charts of a report, as SVG.

use std::time::Duration;

use plotters::prelude::*;

use super::figures::StormRun;
use super::operator::Sample;
use super::tally::Row;

/// Width and height, in pixels.
const SIZE: (u32, u32) = (900, 260);
/// Color of text and axes, readable on white and on black.
const INK: RGBColor = RGBColor(128, 128, 128);
const FIRST: RGBColor = RGBColor(38, 128, 235);
const SECOND: RGBColor = RGBColor(230, 110, 20);
const FONT: (&str, i32) = ("sans-serif", 13);

/// Points of one kind: seconds since the begin, and a value.
struct Series {
    name: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
    /// Whether to draw one dot per point, instead of a line through all points.
    dots: bool,
}

impl Series {
    fn line(name: &'static str, color: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self { name, color, points, dots: false }
    }
}

/// Draws the time to Secret of each Ingress, over the time at which the Secret was written.
pub(super) fn time_to_secret(run: &StormRun) -> anyhow::Result<String> {
    let point = |row: &Row| Some((row.written?.as_secs_f64(), row.took()?.as_secs_f64()));
    let points = run.rows.iter().filter_map(point).collect();
    draw(&[Series { name: "one Ingress", color: FIRST, points, dots: true }])
}

/// Draws the numbers of queued certificates and of those in progress, over time.
pub(super) fn queue(run: &StormRun) -> anyhow::Result<String> {
    draw(&[
        Series::line("queued", FIRST, over_time(run, |sample| sample.queued)),
        Series::line("in work", SECOND, over_time(run, |sample| sample.in_work)),
    ])
}

/// Draws the numbers of requests to the API server and to the CA since the begin, over time.
pub(super) fn requests(run: &StormRun) -> anyhow::Result<String> {
    let (kube, acme) = (run.before.kube_total(), run.before.acme_requests);
    let to_api = over_time(run, |sample| sample.kube_total().saturating_sub(kube));
    let to_ca = over_time(run, |sample| sample.acme_requests.saturating_sub(acme));
    draw(&[
        Series::line("to the API server", FIRST, to_api),
        Series::line("to the CA", SECOND, to_ca),
    ])
}

/// Draws the resident memory of the operator in MiB, over time.
pub(super) fn memory(run: &StormRun) -> anyhow::Result<String> {
    let kib = over_time(run, |sample| sample.memory >> 10);
    let mib = kib.into_iter().map(|(at, kib)| (at, kib / 1024.0)).collect();
    draw(&[Series::line("resident", FIRST, mib)])
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn over_time(run: &StormRun, value: impl Fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    let point = |(at, sample): &(Duration, Sample)| (at.as_secs_f64(), value(sample) as f64);
    run.meanwhile.iter().map(point).collect()
}

fn draw(all: &[Series]) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw_into(&mut svg, all).map_err(|error| anyhow::anyhow!("no chart can be drawn: {error}"))?;
    Ok(svg)
}

fn draw_into(svg: &mut String, all: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    let end = |of: fn(&(f64, f64)) -> f64| {
        let values = all.iter().flat_map(|series| series.points.iter().map(of));
        values.fold(0.0, f64::max).max(1.0) * 1.05
    };
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end(|point| point.0), 0.0..end(|point| point.1))?;
    let text = FONT.into_font().color(&INK);
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(TRANSPARENT)
        .label_style(text.clone())
        .x_label_formatter(&|seconds| format!("{seconds} s"))
        .draw()?;
    for Series { name, color, points, dots } in all {
        let drawn = if *dots {
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 2, color.filled())))?
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
        };
        let color = *color;
        drawn
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 3), (x + 12, y + 3)], color.filled()));
    }
    let upper_left = SeriesLabelPosition::UpperLeft;
    chart.configure_series_labels().position(upper_left).label_font(text).draw()?;
    area.present()?;
    Ok(())
}
