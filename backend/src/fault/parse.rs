//! From JSON to a [`Fault`], by hand: each refusal names the field, what was wrong and what would be right, which
//! derived deserialisation does not.

use serde_json::{Map, Value};

use super::Fault;

/// Longest added latency, milliseconds: ten minutes outlast every timeout under test.
const LATENCY_MAX_MS: f64 = 600_000.0;

/// Longest burn of one request, milliseconds: a minute of one core is overload enough.
const BURN_MAX_MS: f64 = 60_000.0;

/// Largest capacity; more than connections can carry.
const CAPACITY_MAX: u32 = 1_000_000;

/// `base` with the fields of `json` changed.
pub(super) fn apply(base: &Fault, json: &[u8]) -> Result<Fault, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| {
        format!("the body is not JSON ({error}); send an object such as {{\"latency_ms\":50}}")
    })?;
    let Value::Object(fields) = value else {
        return Err("the body is not an object; send one such as {\"latency_ms\":50}".to_owned());
    };
    fields_onto(base.clone(), &fields)
}

fn fields_onto(mut fault: Fault, fields: &Map<String, Value>) -> Result<Fault, String> {
    for (name, value) in fields {
        match name.as_str() {
            "latency_ms" => fault.latency_ms = number(name, value, LATENCY_MAX_MS)?,
            "error_rate" => fault.error_rate = number(name, value, 1.0)?,
            "cpu_burn_ms" => fault.cpu_burn_ms = number(name, value, BURN_MAX_MS)?,
            "stall" => fault.stall = value.as_bool().ok_or_else(|| bad(name, value, "true or false"))?,
            "capacity" => fault.capacity = capacity(name, value)?,
            _ => {
                return Err(format!(
                    "unknown field {name}; the fields are latency_ms, error_rate, cpu_burn_ms, stall, capacity"
                ));
            }
        }
    }
    Ok(fault)
}

fn number(name: &str, value: &Value, max: f64) -> Result<f64, String> {
    value
        .as_f64()
        .filter(|number| (0.0..=max).contains(number))
        .ok_or_else(|| bad(name, value, &format!("a number from 0 to {max}")))
}

fn capacity(name: &str, value: &Value) -> Result<Option<u32>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let places = value.as_u64().and_then(|places| u32::try_from(places).ok());
    places.filter(|places| (1..=CAPACITY_MAX).contains(places)).map(Some).ok_or_else(|| {
        bad(name, value, &format!("a whole number from 1 to {CAPACITY_MAX}, or null for no bound"))
    })
}

fn bad(name: &str, value: &Value, right: &str) -> String {
    format!("{name} is {value}; send {right}")
}
