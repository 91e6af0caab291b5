//! What a deployment is to the people who read it: environment, group, lead time, from metadata. Pure.

mod facts;
mod lead_time;

pub use facts::{Facts, Layers, facts, is_ignored, keys};
pub use lead_time::{hours, lead_time};
