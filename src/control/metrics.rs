//! The text exposition format of Prometheus (version 0.0.4): what a scrape of `[metrics] listen` says. Written by hand:
//! the format is two comment lines a family and one line a sample, and every number is in the daemon already, so that
//! a library's registry would be a second copy of them. `promtool check metrics` reads it in the tests.

use std::fmt::{Display, Write as _};

use crate::base::Histogram;

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A scrape being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family of counters, whose name must end in `_total` (but for those of `process_`).
    pub fn counter(&mut self, name: &str, help: &str) {
        self.family(name, "counter", help);
    }

    /// Begins a family of gauges.
    pub fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, "gauge", help);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample of the family that was begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.text.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"", if place == 0 { '{' } else { ',' });
            for c in value.to_string().chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family of one counter without labels.
    pub fn one_counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.counter(name, help);
        self.sample(name, &[], value);
    }

    /// A family of one gauge without labels.
    pub fn one_gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauge(name, help);
        self.sample(name, &[], value);
    }

    /// A family of one histogram. The exposed unit has `scale` of the observed in it: 1,000,000 makes seconds of microseconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram, scale: u32) {
        self.family(name, "histogram", help);
        let scaled = |number: u64| number as f64 / f64::from(scale);
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            self.sample(&bucket, &[("le", &scaled(bound))], count);
        }
        self.sample(&bucket, &[("le", &"+Inf")], histogram.count());
        self.sample(&format!("{name}_sum"), &[], scaled(histogram.sum()));
        self.sample(&format!("{name}_count"), &[], histogram.count());
    }

    /// What was written.
    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_histograms_are_cumulative() {
        let mut text = Exposition::default();
        text.gauge("evpnd_neighbor_up", "one line\nstays one");
        text.sample("evpnd_neighbor_up", &[("neighbor", &"10.0.0.1"), ("description", &"a \"b\"\\\n")], 1);
        let mut histogram = Histogram::new(&[500, 1_000]);
        histogram.observe(700, 2);
        histogram.observe(3_000_000, 1);
        text.histogram("evpnd_x_seconds", "how long", &histogram, 1_000_000);
        let expected = "# HELP evpnd_neighbor_up one line\\nstays one\n# TYPE evpnd_neighbor_up gauge\n\
             evpnd_neighbor_up{neighbor=\"10.0.0.1\",description=\"a \\\"b\\\"\\\\\\n\"} 1\n\
             # HELP evpnd_x_seconds how long\n# TYPE evpnd_x_seconds histogram\n\
             evpnd_x_seconds_bucket{le=\"0.0005\"} 0\nevpnd_x_seconds_bucket{le=\"0.001\"} 2\n\
             evpnd_x_seconds_bucket{le=\"+Inf\"} 3\nevpnd_x_seconds_sum 3.0014\nevpnd_x_seconds_count 3\n";
        assert_eq!(text.into_text(), expected);
    }
}
