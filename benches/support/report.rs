//! What is printed: a line as soon as it is measured.

use std::{fmt::Write as _, io::Write as _};

use serde_json::{Map, Value, json};

use super::PAYLOAD;

/// One measured line.
#[must_use]
pub(crate) struct Line {
    bench: &'static str,
    store: &'static str,
    bus: &'static str,
    events: u64,
    figures: Vec<(&'static str, f64, Option<Bar>)>,
    series: Vec<(&'static str, Vec<f64>)>,
}

/// What a figure must be.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(limit) => figure >= limit,
            Self::AtMost(limit) => figure <= limit,
        }
    }
}

impl Line {
    pub(crate) fn new(
        bench: &'static str,
        (store, bus): (&'static str, &'static str),
        events: u64,
    ) -> Self {
        Self { bench, store, bus, events, figures: Vec::new(), series: Vec::new() }
    }

    pub(crate) fn figure(mut self, name: &'static str, figure: f64) -> Self {
        self.figures.push((name, figure, None));
        self
    }

    /// A figure that has a bar to meet.
    pub(crate) fn bar(mut self, name: &'static str, figure: f64, bar: Bar) -> Self {
        self.figures.push((name, figure, Some(bar)));
        self
    }

    pub(crate) fn series(mut self, name: &'static str, figures: Vec<f64>) -> Self {
        self.series.push((name, figures));
        self
    }

    /// Both rates, and ours as a share of the other.
    pub(crate) fn rates(self, events_per_s: f64, bare_events_per_s: f64) -> Self {
        self.figure("events_per_s", events_per_s).figure("bare_events_per_s", bare_events_per_s)
    }

    pub(crate) fn print(&self, as_json: bool) {
        let mut out = std::io::stdout();
        let line = if as_json { self.json().to_string() } else { self.text() };
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("at".into(), chrono::Utc::now().to_rfc3339().into());
        object.insert("bench".into(), self.bench.into());
        object.insert("store".into(), self.store.into());
        object.insert("bus".into(), self.bus.into());
        object.insert("events".into(), self.events.into());
        object.insert("payload_bytes".into(), PAYLOAD.into());
        for always in ["events_per_s", "bare_events_per_s", "ratio"] {
            object.insert(always.into(), Value::Null);
        }
        for (name, figure, _) in &self.figures {
            object.insert((*name).into(), json!(figure));
        }
        for (name, figures) in &self.series {
            object.insert((*name).into(), json!(figures));
        }
        if object["ratio"].is_null() {
            // Of a row that compares something else than rates, the first figure that has a bar and is one.
            let is_ratio = |name: &str| name.contains("ratio") || name.contains("_to_");
            let mut barred = self.figures.iter().filter(|(_, _, bar)| bar.is_some());
            let first = barred.find(|(name, _, _)| is_ratio(name));
            object.insert("ratio".into(), json!(first.map(|(_, figure, _)| figure)));
        }
        let bars = self.figures.iter().filter_map(|(name, figure, bar)| {
            let (side, limit) = match (*bar)? {
                Bar::AtLeast(limit) => ("at_least", limit),
                Bar::AtMost(limit) => ("at_most", limit),
            };
            Some(json!({ "figure": name, side: limit, "met": bar.unwrap().is_met(*figure) }))
        });
        let bars: Vec<Value> = bars.collect();
        let met = bars.iter().all(|bar| bar["met"] == true);
        object.insert("met".into(), if bars.is_empty() { Value::Null } else { met.into() });
        object.insert("bars".into(), bars.into());
        Value::Object(object)
    }

    fn text(&self) -> String {
        let Self { bench, store, bus, events, .. } = self;
        let mut text = format!("{bench} {store} → {bus}: {events} events of {PAYLOAD} bytes");
        for (name, figure, bar) in &self.figures {
            write!(text, ", {name} {}", rounded(*figure)).unwrap();
            if let Some(bar) = bar {
                let (side, limit) = match bar {
                    Bar::AtLeast(limit) => ('≥', limit),
                    Bar::AtMost(limit) => ('≤', limit),
                };
                let mark = if bar.is_met(*figure) { '✓' } else { '✗' };
                write!(text, " ({side} {limit} {mark})").unwrap();
            }
        }
        for (name, figures) in &self.series {
            let figures: Vec<String> = figures.iter().map(|figure| rounded(*figure)).collect();
            write!(text, ", {name} {}", figures.join(" ")).unwrap();
        }
        text
    }
}

/// With three significant digits or so.
fn rounded(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        1.0.. => format!("{figure:.2}"),
        0.0 => "0".into(),
        _ => format!("{figure:.4}"),
    }
}
