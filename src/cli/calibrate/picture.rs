//! The picture of a calibration: DET curves, similarities, and claimed against observed rates.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::Report;
use crate::calibration::fit::{CrossValidation, ErrorRates, det_by_seconds, det_curve};

const WIDTH: u32 = 1_260;
const HEIGHT: u32 = 440;
const FONT: &str = "sans-serif";

/// The rates labelled on the axes, as fractions.
const DET_TICKS: [f64; 9] = [0.0005, 0.002, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6];
const CLAIM_TICKS: [f64; 4] = [0.001, 0.01, 0.1, 0.5];

/// The number of bars in the histogram.
const N_BARS: usize = 60;

/// Colours that people with any type of colour vision can distinguish (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws the picture as SVG.
pub(super) fn draw(report: &Report<'_>) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        root.fill(&WHITE)?;
        let panels = root.split_evenly((1, 3));
        draw_det(&panels[0], report)?;
        draw_similarities(&panels[1], report)?;
        draw_claims(&panels[2], report.validated.ok())?;
        root.present()?;
    }
    Ok(svg)
}

/// An axis that shows transformed rates.
struct RateAxis {
    place: fn(f64) -> f64,
    ticks: &'static [f64],
}

impl RateAxis {
    fn range(&self) -> std::ops::Range<f64> {
        let (first, last) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        (self.place)(first)..(self.place)(last)
    }

    fn clamp(&self, rate: f64) -> f64 {
        (self.place)(rate.clamp(self.ticks[0], self.ticks[self.ticks.len() - 1]))
    }
}

/// Builds the chart of one panel: two axes of rates with grid lines and labels.
macro_rules! rate_chart {
    ($area:expr, $title:expr, $axis:expr, $x:expr, $y:expr) => {{
        let axis = $axis;
        let range = axis.range();
        let mut chart = ChartBuilder::on($area)
            .caption($title, (FONT, 16))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .build_cartesian_2d(range.clone(), range.clone())?;
        chart.configure_mesh().disable_mesh().x_labels(0).y_labels(0).x_desc($x).y_desc($y).draw()?;
        let grid = RGBColor(220, 220, 220);
        let small = (FONT, 11).into_font().color(&BLACK);
        for tick in axis.ticks {
            let at = (axis.place)(*tick);
            chart.draw_series([
                PathElement::new(vec![(at, range.start), (at, range.end)], grid),
                PathElement::new(vec![(range.start, at), (range.end, at)], grid),
            ])?;
            let text = format!("{}", (tick * 1e5).round() / 1e3);
            let below = small.clone().pos(Pos::new(HPos::Center, VPos::Top));
            let beside = small.clone().pos(Pos::new(HPos::Right, VPos::Center));
            let plot = chart.plotting_area();
            let (x, bottom) = plot.map_coordinate(&(at, range.start));
            let (left, y) = plot.map_coordinate(&(range.start, at));
            let (x0, y0) = $area.get_base_pixel();
            $area.draw(&Text::new(text.clone(), (x - x0, bottom - y0 + 6), below))?;
            $area.draw(&Text::new(text, (left - x0 - 6, y - y0), beside))?;
        }
        chart
    }};
}

fn draw_det(area: &Area<'_>, report: &Report<'_>) -> Drawn {
    let axis = RateAxis { place: probit, ticks: &DET_TICKS };
    let mut chart = rate_chart!(area, "Misses and false accepts", &axis, "false accepts, %", "misses, %");
    let trials = &report.comparisons.trials;
    let all = det_curve(trials, report.calibration);
    let mut curves: Vec<(String, Vec<ErrorRates>)> =
        all.map(|curve| ("all".to_owned(), curve)).into_iter().collect();
    for (seconds, curve) in det_by_seconds(trials, report.calibration) {
        let label = if seconds.end.is_finite() {
            format!("{} to {} s", seconds.start, seconds.end)
        } else {
            format!("{} s and more", seconds.start)
        };
        curves.push((label, curve));
    }
    for ((label, curve), colour) in curves.into_iter().zip(COLOURS) {
        let points = visible(&curve).into_iter().map(|p| (axis.clamp(p.false_accept), axis.clamp(p.miss)));
        let points: Vec<(f64, f64)> = points.collect();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// Returns the points that are distinguishable at the picture's size.
fn visible(curve: &[ErrorRates]) -> Vec<ErrorRates> {
    let mut kept: Vec<ErrorRates> = Vec::new();
    for point in curve {
        let is_far = |last: &ErrorRates| {
            let moved = |a: f64, b: f64| (probit(a.clamp(1e-4, 0.9)) - probit(b.clamp(1e-4, 0.9))).abs();
            moved(last.false_accept, point.false_accept).max(moved(last.miss, point.miss)) > 0.01
        };
        if kept.last().is_none_or(is_far) {
            kept.push(*point);
        }
    }
    kept.extend(curve.last());
    kept
}

fn draw_similarities(area: &Area<'_>, report: &Report<'_>) -> Drawn {
    let trials = &report.comparisons.trials.trials;
    let least = trials.iter().map(|trial| trial.similarity).fold(0.0, f64::min);
    let width = (1.0 - least) / N_BARS as f64;
    let mut bars = [[0.0; N_BARS]; 2];
    let mut totals = [0.0; 2];
    for trial in trials {
        let bar = (((trial.similarity - least) / width) as usize).min(N_BARS - 1);
        let class = usize::from(trial.is_same());
        bars[class][bar] += trial.weight;
        totals[class] += trial.weight;
    }
    for (bars, total) in bars.iter_mut().zip(totals) {
        bars.iter_mut().for_each(|bar| *bar = if total > 0.0 { *bar / total * 100.0 } else { 0.0 });
    }
    let highest = bars.iter().flatten().fold(1.0, |highest: f64, bar| highest.max(*bar)) * 1.25;
    let mut chart = ChartBuilder::on(area)
        .caption("Similarities", (FONT, 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(least..1.0, 0.0..highest)?;
    let mesh = RGBColor(220, 220, 220);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(mesh)
        .x_desc("cosine")
        .y_desc("comparisons, %")
        .draw()?;
    let classes = [("different speakers", COLOURS[4]), ("one speaker", COLOURS[1])];
    for ((label, colour), bars) in classes.into_iter().zip(bars) {
        let style = colour.mix(0.6).filled();
        let bar = |(i, share): (usize, f64)| {
            let left = least + i as f64 * width;
            Rectangle::new([(left, 0.0), (left + width, share)], style)
        };
        let drawn = bars.into_iter().enumerate().filter(|(_, share)| *share > 0.0).map(bar);
        chart
            .draw_series(drawn)?
            .label(label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 16, y + 5)], style));
    }
    legend(&mut chart, SeriesLabelPosition::UpperMiddle)
}

fn draw_claims(area: &Area<'_>, validated: Option<&CrossValidation>) -> Drawn {
    let axis = RateAxis { place: f64::log10, ticks: &CLAIM_TICKS };
    let title = "False accepts of speakers left out";
    let mut chart = rate_chart!(area, title, &axis, "claimed, %", "observed, %");
    let range = axis.range();
    let ideal = [(range.start, range.start), (range.end, range.end)];
    let grey = RGBColor(140, 140, 140);
    chart
        .draw_series(LineSeries::new(ideal, grey))?
        .label("as claimed")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], grey));
    if let Some(validated) = validated {
        let colour = COLOURS[1];
        let points: Vec<(f64, f64)> = validated
            .claims
            .iter()
            .map(|claim| (axis.clamp(claim.claimed), axis.clamp(claim.observed)))
            .collect();
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label("observed")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        chart.draw_series(points.into_iter().map(|at| Circle::new(at, 3, colour.filled())))?;
    }
    legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

fn legend<'a, C>(chart: &mut ChartContext<'a, SVGBackend<'a>, C>, place: SeriesLabelPosition) -> Drawn
where
    C: CoordTranslate,
{
    let mut labels = chart.configure_series_labels();
    labels.position(place).background_style(WHITE.mix(0.8)).border_style(TRANSPARENT);
    labels.label_font((FONT, 12)).draw()
}

/// Returns the quantile of the normal distribution (Acklam, 2003). Relative error: below 1.2e-9.
fn probit(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    };
    if p < 0.024_25 {
        tail(p)
    } else if p > 1.0 - 0.024_25 {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        polynomial(&A, q * q) * q / polynomial(&B, q * q)
    }
}

#[cfg(test)]
mod tests {
    use super::probit;

    #[test]
    fn probits_are_those_of_tables() {
        for (p, expected) in
            [(0.5, 0.0), (0.975, 1.959_964), (0.01, -2.326_348), (0.001, -3.090_232), (0.84, 0.994_458)]
        {
            assert!((probit(p) - expected).abs() < 1e-6, "{p}: {}", probit(p));
        }
    }
}
