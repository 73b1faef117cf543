// SPDX-License-Identifier: GPL-2.0-only
//! Metric families, derived from the table of statistics.
//!
//! A field of [`Metrics`] or [`NodeMetrics`] that is marked `_om_counter` or `_om_gauge` is a family
//! of its own: `scx_mpg_` and its name, with its description as help. Counts are since the load, as
//! Prometheus wants them, so none has to be called total twice. Times are in seconds, whatever the field's unit. A text that is marked
//! `_om_info` is the label of an info. What has no mark is not served: it can be computed from what
//! is, over any interval.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use scx_stats::{Meta, StatsField, StatsMeta};
use serde::Serialize;
use serde_json::{Map, Value};

use super::histograms;
use crate::cli;
use crate::stats::{Metrics, NodeMetrics, Reader, Snapshot};

/// What the text is, as HTTP says it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What every name begins with.
const PREFIX: &str = "scx_mpg";
/// How fields are marked.
const KINDS: [(&str, MetricType); 3] = [
    ("_om_counter", MetricType::Counter),
    ("_om_gauge", MetricType::Gauge),
    ("_om_info", MetricType::Info),
];
/// Units of time: how fields end that are in them, how descriptions call them, how many are a
/// second.
const TIMES: [(&str, &str, f64); 3] = [
    ("_s", "seconds", 1.0),
    ("_us", "microseconds", 1e6),
    ("_ns", "nanoseconds", 1e9),
];

/// Everything that is served.
pub struct Families(Registry);

impl Families {
    /// Families with the values that `read` finds whenever a text is made.
    pub fn new(read: Reader) -> Self {
        let node = NodeMetrics::meta();
        let attribute = |name: &str| node.attrs.user.get(name).cloned().unwrap_or_default();
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Fields {
            read,
            version: cli::full_version(),
            whole: families("", &Metrics::meta()),
            node: families(&attribute("_om_prefix"), &node),
            node_label: attribute("_om_label"),
        }));
        Self(registry)
    }

    /// The values of this moment, in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Nothing is refused but a mark that does not fit its field, which the tests would see.
        let _ = encode(&mut text, &self.0);
        text
    }
}

/// A field that is served.
struct Family {
    field: String,
    name: String,
    help: String,
    kind: MetricType,
    /// How many of the field's unit are a second, if it is a time.
    per_second: Option<f64>,
}

fn families(prefix: &str, meta: &StatsMeta) -> Vec<Family> {
    let family = |(field, about): (&String, &StatsField)| {
        let mut kinds = KINDS.into_iter();
        let (_, kind) = kinds.find(|(mark, _)| about.attrs.user.contains_key(*mark))?;
        let mut family = Family {
            field: field.clone(),
            name: format!("{prefix}{}", field.trim_start_matches("total_")),
            help: about.attrs.desc.clone().unwrap_or_default(),
            kind,
            per_second: None,
        };
        for (end, word, per_second) in TIMES {
            if let Some(name) = field.strip_suffix(end) {
                family.name = format!("{prefix}{name}");
                family.help = family.help.replace(word, "seconds");
                family.per_second = Some(per_second);
            }
        }
        Some(family)
    };
    meta.fields.iter().filter_map(family).collect()
}

/// All fields, with the values of the moment.
struct Fields {
    read: Reader,
    version: String,
    whole: Vec<Family>,
    node: Vec<Family>,
    node_label: String,
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields").finish_non_exhaustive()
    }
}

impl Collector for Fields {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let now = (self.read)();
        let metrics = Metrics::between(&Snapshot::default(), &now);
        let values = object(&metrics);
        for family in &self.whole {
            family.describe(&mut encoder, |mut metric| {
                family.encode(&mut metric, &values)
            })?;
        }
        let nodes: BTreeMap<String, Map<String, Value>> = metrics
            .nodes
            .iter()
            .map(|(id, node)| (id.to_string(), object(node)))
            .collect();
        for family in &self.node {
            family.describe(&mut encoder, |mut metric| {
                nodes.iter().try_for_each(|(id, values)| {
                    let labels = [(self.node_label.as_str(), id.as_str())];
                    family.encode(&mut metric.encode_family(&labels)?, values)
                })
            })?;
        }
        histograms::encode(&mut encoder, &now)?;
        encoder
            .encode_descriptor("build", "the scx_mpg that runs", None, MetricType::Info)?
            .encode_info(&[("version", self.version.as_str())])
    }
}

impl Family {
    fn describe(
        &self,
        encoder: &mut DescriptorEncoder,
        values: impl FnOnce(MetricEncoder) -> fmt::Result,
    ) -> fmt::Result {
        let unit = self.per_second.map(|_| Unit::Seconds);
        let kind = self.kind;
        values(encoder.encode_descriptor(&self.name, &self.help, unit.as_ref(), kind)?)
    }

    fn encode(&self, metric: &mut MetricEncoder, values: &Map<String, Value>) -> fmt::Result {
        let value = values.get(&self.field).ok_or(fmt::Error)?;
        if let (MetricType::Info, Some(text)) = (self.kind, value.as_str()) {
            return metric.encode_info(&[(self.field.as_str(), text)]);
        }
        if let Some(per_second) = self.per_second {
            let seconds = value.as_f64().ok_or(fmt::Error)? / per_second;
            return match self.kind {
                MetricType::Counter => metric.encode_counter::<NoLabelSet, _, f64>(&seconds, None),
                _ => metric.encode_gauge(&seconds),
            };
        }
        match (self.kind, value.as_u64(), value.as_i64()) {
            (MetricType::Counter, Some(count), _) => {
                metric.encode_counter::<NoLabelSet, _, f64>(&count, None)
            }
            (MetricType::Gauge, _, Some(level)) => metric.encode_gauge(&level),
            _ => Err(fmt::Error),
        }
    }
}

fn object(of: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(of) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}
